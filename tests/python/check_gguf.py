"""check_gguf.py HF_DIR FILE.gguf: reads FILE with the reference `gguf` package and compares every tensor byte for byte with
what the reference quantizer makes of the Hugging Face weights. Exits 1 and names each difference."""

import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

LLAMA = {
    r"token_embd\.weight": "model.embed_tokens.weight",
    r"output_norm\.weight": "model.norm.weight",
    r"output\.weight": "lm_head.weight",
    r"blk\.(\d+)\.attn_norm\.weight": r"model.layers.\1.input_layernorm.weight",
    r"blk\.(\d+)\.ffn_norm\.weight": r"model.layers.\1.post_attention_layernorm.weight",
    r"blk\.(\d+)\.attn_([qkv])\.(weight|bias)": r"model.layers.\1.self_attn.\2_proj.\3",
    r"blk\.(\d+)\.attn_output\.(weight|bias)": r"model.layers.\1.self_attn.o_proj.\2",
    r"blk\.(\d+)\.ffn_(gate|up|down)\.(weight|bias)": r"model.layers.\1.mlp.\2_proj.\3",
}
GPT2 = {
    r"token_embd\.weight": "transformer.wte.weight",
    r"position_embd\.weight": "transformer.wpe.weight",
    r"output_norm\.(weight|bias)": r"transformer.ln_f.\1",
    r"output\.weight": "lm_head.weight",
    r"blk\.(\d+)\.attn_norm\.(weight|bias)": r"transformer.h.\1.ln_1.\2",
    r"blk\.(\d+)\.ffn_norm\.(weight|bias)": r"transformer.h.\1.ln_2.\2",
    r"blk\.(\d+)\.attn_qkv\.(weight|bias)": r"transformer.h.\1.attn.c_attn.\2",
    r"blk\.(\d+)\.attn_output\.(weight|bias)": r"transformer.h.\1.attn.c_proj.\2",
    r"blk\.(\d+)\.ffn_up\.(weight|bias)": r"transformer.h.\1.mlp.c_fc.\2",
    r"blk\.(\d+)\.ffn_down\.(weight|bias)": r"transformer.h.\1.mlp.c_proj.\2",
}


def weights(folder):
    """All tensors as float32 numpy arrays; torch does the reading because numpy has no bfloat16."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                out[name] = file.get_tensor(name).float().numpy()
    return out


def interleave(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def expected_values(name, hf, config, stored, arch):
    w = stored[hf] if hf in stored else stored[hf.removeprefix("transformer.")]
    if re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", hf):
        w = w.T
    if arch == "gemma" and name.endswith("norm.weight"):
        w = w + np.float32(1)
    if arch != "llama":
        return np.ascontiguousarray(w)
    heads = config.get("num_attention_heads")
    if re.search(r"attn_q\.", name):
        w = interleave(w, heads)
    if re.search(r"attn_k\.", name):
        w = interleave(w, config.get("num_key_value_heads") or heads)
    return np.ascontiguousarray(w)


def main(hf_dir, path):
    config = json.loads((hf_dir / "config.json").read_text())
    stored = weights(hf_dir)
    reader = gguf.GGUFReader(path)
    arch = reader.get_field("general.architecture").contents()
    names = {"llama": LLAMA, "qwen2": LLAMA, "gemma": LLAMA, "gpt2": GPT2}[arch]
    file_type = reader.get_field("general.file_type").contents()
    matrices = {0: gguf.GGMLQuantizationType.F32, 1: gguf.GGMLQuantizationType.F16, 7: gguf.GGMLQuantizationType.Q8_0}[file_type]
    problems, seen, counts = [], set(), {}
    for tensor in reader.tensors:
        hf = next((re.sub(f"^{k}$", v, tensor.name) for k, v in names.items() if re.fullmatch(k, tensor.name)), None)
        if hf is None:
            problems.append(f"{tensor.name}: no such tensor in {arch}")
            continue
        seen.add(hf)
        want = expected_values(tensor.name, hf, config, stored, arch)
        if tuple(reversed([int(d) for d in tensor.shape])) != want.shape:
            problems.append(f"{tensor.name}: shape {tensor.shape[::-1]}, expected {want.shape}")
            continue
        small = want.ndim < 2 or tensor.name == "position_embd.weight"
        kind = gguf.GGMLQuantizationType.F32 if small else matrices
        if kind == gguf.GGMLQuantizationType.Q8_0 and want.shape[-1] % 32 != 0:
            kind = gguf.GGMLQuantizationType.F16
        if tensor.tensor_type != kind:
            problems.append(f"{tensor.name}: type {tensor.tensor_type.name}, expected {kind.name}")
            continue
        bytes_want = gguf.quants.quantize(want, kind).tobytes()
        if tensor.data.tobytes() != bytes_want:
            problems.append(f"{tensor.name}: {kind.name} bytes differ from the reference quantizer")
        counts[kind.name] = counts.get(kind.name, 0) + 1
    tied = config.get("tie_word_embeddings", arch in ("gpt2", "gemma"))
    for name in stored:
        hf = name if arch != "gpt2" or name.startswith(("transformer.", "lm_head")) else f"transformer.{name}"
        buffer = hf.endswith((".attn.bias", ".attn.masked_bias", ".inv_freq")) or (tied and hf == "lm_head.weight")
        if hf not in seen and not buffer:
            problems.append(f"{hf}: not in the file")
    problems += check_tokenizer(hf_dir, reader)
    if not counts:
        problems.append("no tensor was compared")
    for problem in problems:
        print(f"FAIL {problem}")
    if problems:
        return 1
    print(f"OK {path}: {counts}")
    return 0


def check_tokenizer(hf_dir, reader):
    path = hf_dir / "tokenizer.json"
    if not path.exists():
        return []
    model = json.loads(path.read_text())["model"]
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    problems = [f"token {i}: {tokens[i]!r}, expected {t!r}" for t, i in model["vocab"].items() if tokens[i] != t]
    if reader.get_field("tokenizer.ggml.model").contents() == "gpt2":
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        if reader.get_field("tokenizer.ggml.merges").contents() != merges:
            problems.append("merges differ")
    elif len(reader.get_field("tokenizer.ggml.scores").contents()) != len(tokens):
        problems.append("there must be one score for each token")
    if len(reader.get_field("tokenizer.ggml.token_type").contents()) != len(tokens):
        problems.append("there must be one type for each token")
    return problems


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: check_gguf.py HF_DIR FILE.gguf")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
