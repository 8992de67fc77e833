"""check_int8.py HF_DIR INT8_DIR: decodes a compressed-tensors folder (pack-quantized, int8 per channel) with numpy as the format is
published, and compares with the Hugging Face weights: each error at most half a step, float32 weights bit for bit as the
published formula quantizes them, everything else unchanged. Exits 1 and names each difference."""

import json
import re
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

LINEAR = r"\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|c_attn|c_proj|c_fc)\.weight$"
CONV1D = r"\.(c_attn|c_proj|c_fc)\.weight$"


def tensors(folder):
    """name -> (array, dtype name); floats widened to float32 through torch because numpy has no bfloat16."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                t = file.get_tensor(name)
                kind = str(t.dtype)
                out[name] = ((t.float() if t.is_floating_point() else t).numpy(), kind)
    return out


def unpack(packed, shape):
    """Element i of a row is byte i of its little-endian int32 words, stored as q + 128."""
    bytes_ = np.ascontiguousarray(packed.astype("<i4")).view(np.uint8).reshape(packed.shape[0], -1)
    return bytes_[:, : shape[1]].astype(np.int16) - 128


def main(hf_dir, int8_dir):
    config = json.loads((int8_dir / "config.json").read_text())
    quantization = config.pop("quantization_config")
    problems = []
    if config != json.loads((hf_dir / "config.json").read_text()):
        problems.append("config.json differs by more than quantization_config")
    weights = quantization["config_groups"]["group_0"]["weights"]
    for key, value in {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}.items():
        if weights[key] != value:
            problems.append(f"config: weights.{key} is {weights[key]}")
    original, compressed = tensors(hf_dir), tensors(int8_dir)
    gpt2 = config["model_type"] == "gpt2"
    tied = config.get("tie_word_embeddings", gpt2)
    used, quantized = set(), 0
    for name, (w, kind) in original.items():
        if gpt2 and not name.startswith(("transformer.", "lm_head")):
            name = f"transformer.{name}"
        if name.endswith((".attn.bias", ".attn.masked_bias", ".inv_freq")) or (tied and name == "lm_head.weight"):
            continue
        if not re.search(LINEAR, name):
            used.add(name)
            kept, kept_kind = compressed.get(name, (None, None))
            if kept is None or kept_kind != kind or not np.array_equal(kept, w):
                problems.append(f"{name}: must be kept unchanged")
            continue
        if re.search(CONV1D, name):
            w = np.ascontiguousarray(w.T)
        used.update({f"{name}_packed", f"{name}_scale", f"{name}_shape"})
        (packed, packed_kind), (scale, scale_kind), (shape, _) = (compressed[f"{name}_{p}"] for p in ("packed", "scale", "shape"))
        if shape.tolist() != list(w.shape) or packed.shape != (w.shape[0], -(-w.shape[1] // 4)) or scale.shape != (w.shape[0], 1):
            problems.append(f"{name}: shapes {shape.tolist()}, {packed.shape}, {scale.shape}, weight {w.shape}")
            continue
        if packed_kind != "torch.int32" or scale_kind != kind:
            problems.append(f"{name}: types {packed_kind}, {scale_kind}")
        q = unpack(packed, w.shape)
        error = np.abs(w.astype(np.float64) - q.astype(np.float64) * scale.astype(np.float64))
        if (error > 0.5001 * scale.astype(np.float64)).any():
            problems.append(f"{name}: an error of {error.max()} is more than half a step")
        if kind == "torch.float32":
            formula = np.abs(w).max(axis=1, keepdims=True) / np.float32(127.5)
            formula[formula == 0] = np.finfo(np.float32).eps
            if not np.array_equal(formula, scale) or not np.array_equal(np.clip(np.rint(w / formula), -128, 127), q):
                problems.append(f"{name}: not what the published formula gives")
        quantized += 1
    problems += [f"{name}: unexpected" for name in compressed if name not in used]
    if quantized == 0:
        problems.append("no tensor was compared")
    for problem in problems:
        print(f"FAIL {problem}")
    if problems:
        return 1
    print(f"OK {int8_dir}: {quantized} matrices, {len(used) - 3 * quantized} kept")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: check_int8.py HF_DIR INT8_DIR")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
