"""PyTorch and Osler in turn, and one table of the pairs. Called by ./run, which says what it can be told.

    bench.py BIN_DIR OUR_LIBRARIES
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LIMIT = 600  # seconds for one program
STEPS = {"micro": 8, "tiny": 8, "small": 5}


def setting(name, default):
    return os.environ.get(f"OSLER_BENCH_{name}", default)


def called(command, environment):
    done = subprocess.run([str(part) for part in command], env=environment, stdout=subprocess.PIPE, text=True, timeout=LIMIT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


class Bench:
    def __init__(self, binaries, libraries, work):
        self.examples, self.work = Path(binaries) / "examples", work
        self.plain = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TORCHINDUCTOR_CACHE_DIR": f"{work}/inductor"}
        self.ours = {**self.plain, "LD_LIBRARY_PATH": libraries, "OSLER_BENCH_PIN": "1"}
        self.repeats = int(setting("REPEATS", "3"))

    def train(self, who, size, ranks):
        steps = int(setting("STEPS", STEPS[size]))
        if who == "Osler":
            text = called(["taskset", "-c", "0", self.examples / "train_speed", size, ranks, 1, steps], self.ours)
        else:
            text = called([sys.executable, "-E", "-s", HERE / "train.py", size, ranks, steps, who.split()[1]], self.plain)
        found = json.loads(text.strip().splitlines()[-1])
        found["by_cpu"] = found["tokens_per_s"] * found["step_s"] / found["cpu_s"]
        return found

    def size(self, size):
        makers = ["PyTorch eager", "Osler"] + (["PyTorch compiled"] if setting("COMPILED", "1") == "1" else [])
        runs = {(who, ranks): [] for who in makers for ranks in (2, 1)}
        for _ in range(self.repeats):
            for who, ranks in runs:
                if (who, ranks) != ("PyTorch compiled", 1):
                    print(f"bench-peers: {size}, {ranks} x 1, {who}", file=sys.stderr)
                    runs[who, ranks].append(self.train(who, size, ranks))
        show(size, makers, runs)

    def stall(self):
        ranks = 2
        lines = called([sys.executable, "-s", HERE / "stall.py", ranks, self.repeats, self.work], self.plain).splitlines()
        theirs = [json.loads(line) for line in lines if line.startswith("{")]
        text = called([self.examples / "checkpoint_stall", self.repeats, ranks, f"{self.work}/ours"], self.ours)
        rows = [line.split("\t") for line in text.splitlines() if line.startswith("checkpoint of small")]
        ours = {words: [float(row[2]) for row in rows if words in row[0]] for words in ("stall of the loop", "slow-down")}
        print("\n| a checkpoint of small, 2 ranks | stall of the loop, s | slow-down of the steps beside it, s |\n|---|---|---|")
        print(f"| PyTorch async_save | {spread([t['call_s'] for t in theirs])} | {spread([t['slower_s'] for t in theirs])} |")
        print(f"| Osler | {spread(ours['stall of the loop'])} | {spread(ours['slow-down'])} |")


def spread(values, form="{:.3g}"):
    parts = [form.format(v) for v in (statistics.median(values), min(values), max(values))]
    return f"{parts[0]} [{parts[1]} - {parts[2]}]"


def show(size, makers, runs):
    print(f"\n| {size}, one thread a rank | tokens/s, 2 ranks | by CPU time | 2 ranks / 1 | by CPU time | peak MiB a rank |\n|---|---|---|---|---|---|")
    column = lambda who, ranks, key: [run[key] for run in runs[who, ranks]]
    over = lambda top, bottom, key: [a[key] / b[key] for a, b in zip(runs[top], runs[bottom])]
    for who in makers:
        scaling = ["-"] * 2
        if runs[who, 1]:
            scaling = [spread(over((who, 2), (who, 1), key), "{:.2f}") for key in ("tokens_per_s", "by_cpu")]
        speeds = [spread(column(who, 2, key), "{:.0f}") for key in ("tokens_per_s", "by_cpu")]
        print(f"| {who} | {' | '.join(speeds + scaling)} | {spread(column(who, 2, 'peak_rss_mib'), '{:.0f}')} |")
    for who in makers:
        if who == "Osler":
            continue
        for ranks in (2, 1):
            if not runs[who, ranks]:
                continue
            pairs = list(zip(runs["Osler", ranks], runs[who, ranks]))
            ratios = {key: spread(over(("Osler", ranks), (who, ranks), key), "{:.2f}") for key in ("tokens_per_s", "by_cpu", "peak_rss_mib")}
            apart = max(abs(a - b) for ours, theirs in pairs for a, b in zip(ours["losses"], theirs["losses"], strict=True))
            print(f"\nOsler / {who}, {ranks} x 1: tokens/s {ratios['tokens_per_s']}, by CPU time {ratios['by_cpu']}, "
                  f"peak memory {ratios['peak_rss_mib']}; losses differ by {apart:.1e} at most")
            if apart > 1e-4:
                sys.exit("the losses differ: these are not the same training")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-peers.", dir=sys.argv[1]) as work:
        os.mkdir(f"{work}/ours")
        bench = Bench(sys.argv[1], sys.argv[2], work)
        for part in setting("PEERS", "tiny small checkpoint").split():
            bench.stall() if part == "checkpoint" else bench.size(part)
