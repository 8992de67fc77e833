"""Multiple choice as lm-evaluation-harness scores it, written a second time from its rules; shares no code with crates/exam.

Prompt, then " " and the choice. The continuation's tokens are those that the whole text has more than the prompt; the input is cut on the
left to the model's length. Log-likelihoods are sums of a float64 log-softmax.
"""

import json
from pathlib import Path

import torch

LETTERS = "ABCD"


def read_medmcqa(path: Path) -> list[dict]:
    """JSON Lines; `cop` counts from 1 in a file where a 4 occurs."""
    records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    assert any(r["cop"] == 4 for r in records) and all(1 <= r["cop"] <= 4 for r in records), "expected the official form"
    return [{"question": r["question"], "options": [r["op" + x] for x in "abcd"], "gold": r["cop"] - 1} for r in records]


def prompt_and_choices(item: dict, protocol: str) -> tuple[str, list[str]]:
    if protocol == "cloze":
        return f"Question: {item['question']}\nAnswer:", item["options"]
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, item["options"]))
    return f"Question: {item['question']}\nChoices:\n{listed}Answer:", list(LETTERS)


def score(model, encode, item: dict, protocol: str) -> dict:
    """`encode` gives a text's ids with whatever the tokenizer puts before it."""
    prompt, choices = prompt_and_choices(item, protocol)
    bare = prompt.rstrip()
    context, longest = encode(bare), model.config.max_position_embeddings
    sums, greedy, truncated = [], [], False
    for choice in choices:
        tail = encode(f"{prompt} {choice}")[len(context) :]
        whole = context + tail
        truncated |= len(whole) > longest + 1
        ids = whole[-(longest + 1) :]
        with torch.no_grad():
            logits = model(torch.tensor([ids[:-1]])).logits[0, -len(tail) :]
        log_p, targets = torch.log_softmax(logits.double(), dim=-1), torch.tensor(tail)
        sums.append(log_p.gather(1, targets[:, None]).sum().item())
        greedy.append(bool((log_p.argmax(dim=-1) == targets).all()))
    best = lambda values: max(range(len(values)), key=values.__getitem__)  # noqa: E731  the first of equals
    return {
        "gold": item["gold"],
        "pred": best(sums),
        "pred_norm": best([s / len(c) for s, c in zip(sums, choices)]),
        "lls": sums,
        "is_greedy": greedy,
        "ctx_tokens": len(context),
        "truncated": truncated,
    }
