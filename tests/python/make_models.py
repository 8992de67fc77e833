"""Small random models of every family, made, computed and saved by transformers alone.

usage: make_models.py OUT
Each folder in OUT gets expected_logits.json ({"tokens": [n], "logits": [n][vocabulary]}), computed in fp32 from the weights as they are
stored, for the engine's example `check_logits`.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, GemmaConfig, GPT2Config, LlamaConfig, Qwen2Config

SHAPE = dict(vocab_size=300, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=128,
             initializer_range=0.1, bos_token_id=0, eos_token_id=0, pad_token_id=None)
GROUPED = SHAPE | dict(num_key_value_heads=2, intermediate_size=172)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=128, initializer_range=0.1, bos_token_id=0, eos_token_id=0),
    "llama": LlamaConfig(**GROUPED),
    "llama-tied": LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "llama-linear": LlamaConfig(**GROUPED, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "llama-llama3": LlamaConfig(**GROUPED, rope_parameters=LLAMA3),
    "qwen2": Qwen2Config(**GROUPED, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen2-tied": Qwen2Config(**GROUPED, tie_word_embeddings=True),
    "gemma": GemmaConfig(**(GROUPED | dict(num_key_value_heads=1)), head_dim=32),
    "bert": BertConfig(**(SHAPE | dict(bos_token_id=None, eos_token_id=None, pad_token_id=0)), intermediate_size=256),
}
# name -> how it is saved; the rest in one file of fp32
STORED = {"sharded": dict(max_shard_size="100KB"), "bf16": dict(dtype=torch.bfloat16), "fp16": dict(dtype=torch.float16)}


def model_of(config):
    """Random weights, norms and biases too, so that every part matters."""
    torch.manual_seed(7)
    model = (BertForMaskedLM if config.model_type == "bert" else AutoModelForCausalLM.from_config)(config)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def save(folder: Path, model, max_shard_size="1GB", dtype=torch.float32):
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = [(i * i * 7 + i * 13 + 5) % 300 for i in range(100)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    assert logits.isfinite().all() and logits.std() > 0.01
    (folder / "expected_logits.json").write_text(json.dumps({"tokens": tokens, "logits": logits.tolist()}))


def older(folder: Path):
    """config.json as transformers 4 writes it: rope_theta and rope_scaling instead of rope_parameters."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype", "float32")
    path.write_text(json.dumps(config, indent=2))


def main(out: Path):
    for name, config in CONFIGS.items():
        save(out / name, model_of(config))
        for way, options in STORED.items():
            save(out / f"{name}-{way}", model_of(config), **options)
    for name in ("llama", "llama-linear", "llama-llama3", "qwen2", "gemma"):
        save(out / f"{name}-older", model_of(CONFIGS[name]))
        older(out / f"{name}-older")
    assert len(list((out / "qwen2-sharded").glob("*.safetensors"))) > 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
