"""Rotary frequencies of a GGUF file, as the gguf package reads it and llama.cpp computes with it, are transformers' of the folder.

usage: check_rope.py FOLDER GGUF
llama.cpp's rule: pair i of a head of width d turns by base^(-2i/d), divided by the linear factor and by `rope_freqs.weight`, if there are any.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from transformers import AutoConfig, AutoModelForCausalLM


def main(folder: Path, path: Path) -> int:
    config = AutoConfig.from_pretrained(folder)
    wanted = AutoModelForCausalLM.from_config(config).model.rotary_emb.inv_freq.double().numpy()
    reader = GGUFReader(path)
    arch = config.model_type
    get = lambda key: reader.fields[f"{arch}.rope.{key}"].contents() if f"{arch}.rope.{key}" in reader.fields else None
    width = get("dimension_count")
    found = float(get("freq_base")) ** (-np.arange(0, width, 2) / width)
    assert get("scaling.type") in (None, "none", "linear"), get("scaling.type")
    if get("scaling.type") == "linear":
        found = found / get("scaling.factor")
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            found = found / tensor.data.astype(np.float64)
    worst = np.abs(found / wanted - 1).max()
    print(f"{'ok  ' if worst < 1e-6 else 'FAIL'} {path.name}: largest relative difference of {len(wanted)} frequencies {worst:.1e}")
    return 0 if worst < 1e-6 else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
