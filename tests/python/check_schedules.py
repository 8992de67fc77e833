"""Learning rates by step as torch and transformers compute them: check_schedules.py FILE writes, check_schedules.py --check FILE compares.

A case is a schedule of ours and what the library that has it says. A warm-up of theirs is at its first value before the first
update, one of ours after it: their step s + 1 is our step s.
"""

import json
import sys

import torch
from torch.optim.lr_scheduler import LinearLR
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

TOTAL, WARMUP, DECAY = 50, 8, 12


def factors(make, steps):
    """The learning rate of each step, for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def cases():
    warm, whole = {"warmup_steps": WARMUP}, range(WARMUP, TOTAL)
    yield "constant", warm, whole, 0, lambda o: get_constant_schedule_with_warmup(o, WARMUP)
    yield "linear", warm | {"min_ratio": 0.0}, whole, 0, lambda o: get_linear_schedule_with_warmup(o, WARMUP, TOTAL)
    for least in (0.0, 0.1):
        yield "cosine", warm | {"min_ratio": least}, whole, 0, lambda o, least=least: get_cosine_with_min_lr_schedule_with_warmup(
            o, WARMUP, TOTAL, min_lr_rate=least
        )
        for shape in ("linear", "1-sqrt", "cosine"):
            ours = warm | {"decay_steps": DECAY, "decay": shape, "min_ratio": least}
            yield "wsd", ours, whole, 0, lambda o, shape=shape, least=least: get_wsd_schedule(
                o, WARMUP, DECAY, num_training_steps=TOTAL, decay_type=shape, min_lr_ratio=least
            )
    # The warm-up alone, from nothing and from a low rate.
    yield "constant", warm, range(WARMUP), 1, lambda o: get_linear_schedule_with_warmup(o, WARMUP, TOTAL)
    for start in (0.1, 0.5):
        ours = warm | {"warmup_from": start}
        yield "constant", ours, range(TOTAL - 1), 1, lambda o, start=start: LinearLR(o, start_factor=start, total_iters=WARMUP)


def document():
    found = []
    for kind, keys, steps, ahead, make in cases():
        values = factors(make, TOTAL)
        found.append({"schedule": {"kind": kind} | keys, "total": TOTAL, "first": steps[0], "factors": [values[s + ahead] for s in steps]})
    return found


def main():
    *check, path = sys.argv[1:]
    now = document()
    if not check:
        with open(path, "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(case) for case in now) + "\n]\n")
        return
    with open(path) as file:
        recorded = json.load(file)
    assert len(recorded) == len(now) > 0
    for old, new in zip(recorded, now):
        assert {k: v for k, v in old.items() if k != "factors"} == {k: v for k, v in new.items() if k != "factors"}, (old, new)
        assert all(abs(a - b) < 1e-12 for a, b in zip(old["factors"], new["factors"], strict=True)), old["schedule"]


main()
