"""`osler-rank exam` reports the log-likelihoods that transformers computes for the same model file and questions.

usage: check_exam.py FULL MODEL QUESTIONS REPORT...
MODEL is FULL itself (a Hugging Face folder with a tokenizer), or a compressed form of it. QUESTIONS is a MedMCQA file, each REPORT the JSON
output of an exam with 0 shots. Exits 1 when a log-likelihood differs by more than 2e-4, or a prediction or a prompt's length at all.
"""

import json
import sys
from pathlib import Path

import torch
from lm_rules import read_medmcqa, score
from models import load
from transformers import AutoTokenizer

LIMIT = 2e-4


def differences(row: dict, wanted: dict, protocol: str) -> list[str]:
    pairs = {
        "gold": (row["gold"], wanted["gold"]),
        "context_tokens": (row["context_tokens"], wanted["ctx_tokens"]),
        "truncated": (row["truncated"], wanted["truncated"]),
        "prediction": (row["prediction"], wanted["pred_norm" if protocol == "cloze" else "pred"]),
        "greedy": (row["greedy"], wanted["is_greedy"]),
    }
    return [f"{key}: {ours} reported, {theirs} computed" for key, (ours, theirs) in pairs.items() if ours != theirs]


def main(full: Path, path: Path, questions: Path, reports: list[Path]) -> int:
    model, unclean = load(path, full, torch.float64 if path == full else torch.float32)
    if unclean:
        print(f"FAIL {path}: {unclean}")
        return 1
    encode, items, failed = AutoTokenizer.from_pretrained(full).encode, read_medmcqa(questions), False
    for file in reports:
        (report,) = json.loads(file.read_text())
        worst, problems, protocol = 0.0, [], report["protocol"]
        for row in report["questions"]:
            wanted = score(model, encode, items[row["doc_id"]], protocol)
            worst = max([worst] + [abs(a - b) for a, b in zip(row["log_likelihoods"], wanted["lls"], strict=True)])
            problems += [f"{row['id']}: {text}" for text in differences(row, wanted, protocol)]
        n = len(report["questions"])
        good = n == report["n"] > 0 and worst <= LIMIT and not problems
        failed |= not good
        print(f"{'ok  ' if good else 'FAIL'} {path.name} {protocol}: {n} questions, largest difference {worst:.1e}", *problems, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    full, path, questions, *reports = map(Path, sys.argv[1:])
    sys.exit(main(full, path, questions, reports))
