"""Exported folders give the same logits in transformers as in the engine.

usage: check_export.py FOLDER...
Each folder is a Hugging Face model with expected_logits.json ({"tokens": [n], "logits": [n][vocabulary]}), as the engine's example
`export_random` writes them. Exits 1 when a folder does not load cleanly or a logit differs by more than 1e-4.
"""

import json
import sys
from pathlib import Path

import torch
from models import load
from transformers import GenerationConfig

LIMIT = 1e-4


def check(folder: Path) -> bool:
    expected = json.loads((folder / "expected_logits.json").read_text())
    model, unclean = load(folder, folder)
    if model.can_generate():
        GenerationConfig.from_pretrained(folder)
    with torch.no_grad():
        logits = model.eval()(torch.tensor([expected["tokens"]])).logits[0]
    wanted = torch.tensor(expected["logits"])
    same_shape = logits.shape == wanted.shape and wanted.numel() > 0
    worst = (logits - wanted).abs().max().item() if same_shape else float("inf")
    good = worst <= LIMIT and not unclean
    spread = wanted.std().item()
    print(f"{'ok  ' if good else 'FAIL'} {folder.name}: largest difference {worst:.2e} (logits spread {spread:.2f}) {unclean or ''}")
    return good


def main() -> int:
    folders = [Path(argument) for argument in sys.argv[1:]]
    if not folders:
        print(__doc__, file=sys.stderr)
        return 64
    return 0 if all([check(folder) for folder in folders]) else 1


if __name__ == "__main__":
    sys.exit(main())
