"""Compressed models load in transformers without a complaint and compute nearly what the full model does.

usage: check_loads.py FULL COMPRESSED...    FULL a Hugging Face folder, COMPRESSED a compressed-tensors folder or a GGUF file.
The root of the logits' mean squared difference is judged against their standard deviation: in a random model single logits are
ill-conditioned. check_exam.py compares numbers. Exits 1 and names each failure.
"""

import sys
from pathlib import Path

import torch
from models import load
from transformers import AutoConfig

# method -> the largest such difference, in standard deviations
LIMITS = {"gguf-f32": 1e-6, "gguf-f16": 1e-3, "gguf-q8_0": 0.02, "int8": 0.02}


def logits(path: Path, full: Path, tokens: torch.Tensor) -> tuple[torch.Tensor, dict]:
    model, unclean = load(path, full)
    with torch.no_grad():
        return model(tokens).logits[0].float(), unclean


def main(full: Path, compressed: list[Path]) -> int:
    config, failed = AutoConfig.from_pretrained(full), False
    tokens = torch.tensor([[i * i * 7 % config.vocab_size for i in range(1, min(100, config.max_position_embeddings))]])
    wanted, unclean = logits(full, full, tokens)
    assert not unclean, f"{full}: {unclean}"
    for path in compressed:
        kind = next(kind for kind in LIMITS if kind in path.name)
        found, unclean = logits(path, full, tokens)
        away = ((found - wanted).square().mean().sqrt() / wanted.std()).item() if found.shape == wanted.shape else float("inf")
        # A lossy format that loses nothing was not what got loaded.
        good = not unclean and away <= LIMITS[kind] and (away > 0) == (kind != "gguf-f32")
        failed |= not good
        print(f"{'ok  ' if good else 'FAIL'} {path.name}: {away:.1e} standard deviations away {unclean or ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), [Path(a) for a in sys.argv[2:]]))
