"""Folders that say their model in unusual ways, made and computed by transformers alone.

usage: make_folders.py OUT
OUT/same/NAME has expected_logits.json for the engine's example `check_logits`: what transformers computes from the folder as it is.
OUT/refused/NAME has refused.txt, the words that every reader's refusal must hold: the folder contradicts itself, or says a model that
transformers passes over in silence.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from make_models import GROUPED, SHAPE, model_of
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, GemmaConfig, GPT2Config, LlamaConfig, Qwen2Config

CONFIGS = {
    "llama": LlamaConfig(**GROUPED),
    "tied": LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**GROUPED),
    "gemma": GemmaConfig(**(GROUPED | dict(num_key_value_heads=1)), head_dim=32),
    "gpt2": GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=128, initializer_range=0.1, bos_token_id=0, eos_token_id=0),
    "bert": BertConfig(**(SHAPE | dict(bos_token_id=None, eos_token_id=None, pad_token_id=0)), intermediate_size=256),
}
GONE = object()
LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

# name -> model, keys of config.json
SAME = {
    "defaults": ("llama", dict(rms_norm_eps=GONE, head_dim=GONE, hidden_act=GONE, rope_parameters=GONE, tie_word_embeddings=GONE, architectures=GONE)),
    "theta-beside": ("llama", dict(rope_parameters={"rope_type": "default"}, rope_theta=777.0)),
    "scaling-alone": ("llama", dict(rope_parameters=GONE, rope_scaling={"type": "linear", "factor": 4}, rope_theta=777.0)),
    "scaling-with-base": ("llama", dict(rope_parameters=GONE, rope_scaling=LINEAR | {"rope_theta": 555.0})),
    "both-agree": ("llama", dict(rope_parameters=LINEAR | {"rope_theta": 10000.0}, rope_scaling=LINEAR)),
    "scaling-empty": ("llama", dict(rope_scaling={})),
    "llama3-without-length": ("llama", dict(rope_parameters=LLAMA3 | {"rope_theta": 500000.0})),
    "swish": ("llama", dict(hidden_act="swish")),
    "parallel": ("llama", dict(pretraining_tp=2)),
    "window-off": ("qwen2", dict(sliding_window=4, use_sliding_window=False)),
    "qwen2-base": ("qwen2", dict(rope_parameters=GONE)),
    "gelu-of-old": ("gemma", dict(hidden_act="gelu")),
    "gpt2-by-other-names": ("gpt2", dict(n_embd=GONE, hidden_size=64, n_layer=GONE, num_hidden_layers=3)),
    "gpt2-defaults": ("gpt2", dict(n_inner=GONE, layer_norm_epsilon=GONE, activation_function=GONE, reorder_and_upcast_attn=True)),
    "bert-defaults": ("bert", dict(layer_norm_eps=GONE, hidden_act=GONE, type_vocab_size=GONE)),
}
# name -> model, keys of config.json, words of the refusal
REFUSED = {
    "scaling-beside-parameters": ("llama", dict(rope_scaling=LINEAR), "rope_scaling says linear scaling by 4"),
    "yarn-beside-parameters": ("llama", dict(rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}), "yarn"),
    "two-bases": ("llama", dict(rope_theta=777.0), "rope_theta"),
    "base-of-the-other": ("llama", dict(rope_parameters=LINEAR | {"rope_theta": 777.0}, rope_scaling=LINEAR), "rope_parameters"),
    "two-lengths": ("llama", dict(rope_parameters=LLAMA3 | {"rope_theta": 5e5, "original_max_position_embeddings": 16},
                                  original_max_position_embeddings=32), "original_max_position_embeddings"),
    "part-of-a-head": ("llama", dict(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}), "partial_rotary_factor"),
    "dynamic": ("llama", dict(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
    "window": ("llama", dict(sliding_window=4), "sliding_window"),
    "soft-cap": ("gemma", dict(final_logit_softcapping=30.0), "final_logit_softcapping"),
    "silu": ("gemma", dict(hidden_act="silu"), "hidden_act"),
    "exact-gelu": ("gpt2", dict(activation_function="gelu"), "activation_function"),
    "unscaled": ("gpt2", dict(scale_attn_weights=False), "scale_attn_weights"),
    "another-width": ("gpt2", dict(hidden_size=99), "hidden_size"),
    "own-code": ("llama", dict(auto_map={"AutoModelForCausalLM": "modeling.Mine"}), "auto_map"),
    "classifier": ("llama", dict(architectures=["LlamaForSequenceClassification"]), "LlamaForSequenceClassification"),
    "quantized": ("llama", dict(quantization_config={"quant_method": "gptq", "bits": 4}), "quantized already (gptq)"),
    "biases": ("llama", dict(attention_bias=True), "attention_bias"),
}


def edit(folder: Path, keys: dict):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not GONE}, indent=2))


def change(folder: Path, tensors):
    path = folder / "model.safetensors"
    save_file(tensors(load_file(path)), path, metadata={"format": "pt"})


def expect(folder: Path):
    kind = AutoModelForMaskedLM if "bert" in json.loads((folder / "config.json").read_text())["model_type"] else AutoModelForCausalLM
    model, report = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(report.values()), f"{folder}: {report}"
    tokens = [(i * i * 7 + i * 13 + 5) % 300 for i in range(100)]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([tokens])).logits[0]
    (folder / "expected_logits.json").write_text(json.dumps({"tokens": tokens, "logits": logits.tolist()}))


def main(out: Path):
    base = out / "base"
    for name, config in CONFIGS.items():
        model_of(config).save_pretrained(base / name)
    for name, (model, keys) in SAME.items():
        folder = shutil.copytree(base / model, out / "same" / name)
        edit(folder, keys)
        expect(folder)
    head, table = "lm_head.weight", "model.embed_tokens.weight"
    for name, tensors in {
        "head-stored": lambda w: w | {head: w[table].clone()},
        "head-instead": lambda w: {head if key == table else key: value for key, value in w.items()},
        "no-prefix": lambda w: {key.removeprefix("model."): value for key, value in w.items()},
    }.items():
        folder = shutil.copytree(base / "tied", out / "same" / name)
        change(folder, tensors)
        expect(folder)
    for name, (model, keys, words) in REFUSED.items():
        folder = shutil.copytree(base / model, out / "refused" / name)
        edit(folder, keys)
        (folder / "refused.txt").write_text(words)
    torch.manual_seed(1)
    for name, tensors, words in [
        # transformers takes the stored head, with a warning; others do not.
        ("another-head", lambda w: w | {head: torch.randn_like(w[table])}, "tie_word_embeddings"),
        ("inside", lambda w: {f"language_model.{key}": value for key, value in w.items()}, "language_model."),
        ("half-of-it", lambda w: {key: value for key, value in w.items() if "layers.2." not in key}, "is missing"),
    ]:
        folder = shutil.copytree(base / "tied", out / "refused" / name)
        change(folder, tensors)
        (folder / "refused.txt").write_text(words)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
