"""PyTorch's own data-parallel training of the model that `train_speed` trains: the same weights, tokens, optimizer and threads.

    train.py SIZE RANKS STEPS eager|compiled

Prints one JSON line, of rank 0 but for the losses (means over ranks) and memory (the largest rank). The sizes, the order in which weights are
drawn and the stream of tokens are those of crates/engine/examples/train_speed.rs.
"""
import json
import os
import resource
import socket
import statistics
import sys
import time
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F

SIZES = {
    "micro": SimpleNamespace(dim=64, layers=2, heads=2, ffn=172, vocab=512, length=64, micro=2),
    "tiny": SimpleNamespace(dim=256, layers=8, heads=8, ffn=688, vocab=8192, length=256, micro=8),
    "small": SimpleNamespace(dim=512, layers=8, heads=8, ffn=1376, vocab=16384, length=512, micro=4),
}
WARM_UP = 2
MASK = (1 << 64) - 1


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads = s.heads
        self.norm_in = nn.RMSNorm(s.dim, eps=1e-5)
        self.q, self.k, self.v, self.o = (nn.Linear(s.dim, s.dim, bias=False) for _ in range(4))
        self.norm_mid = nn.RMSNorm(s.dim, eps=1e-5)
        self.gate, self.up = (nn.Linear(s.dim, s.ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(s.ffn, s.dim, bias=False)

    def forward(self, x, cos, sin):
        batch, time_, dim = x.shape
        h = self.norm_in(x)
        q, k, v = (part(h).view(batch, time_, self.heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = turn(q, cos, sin), turn(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, time_, dim)
        x = x + self.o(mixed)
        h = self.norm_mid(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def turn(x, cos, sin):
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Decoder(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embed = nn.Embedding(s.vocab, s.dim)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = nn.RMSNorm(s.dim, eps=1e-5)
        self.head = nn.Linear(s.dim, s.vocab, bias=False)
        width = s.dim // s.heads
        turns = torch.outer(torch.arange(s.length).float(), 10000.0 ** (-torch.arange(0, width, 2).float() / width))
        angles = torch.cat((turns, turns), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids, targets):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def drawn(s, seed=1):
    model = Decoder(s)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1.0) if weight.dim() == 1 else weight.normal_(0.0, 0.02)
    return model


def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)


def mixed(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def row(s, number):
    hashes = [mixed((1 << 32) + number * (s.length + 1) + t) for t in range(s.length + 1)]
    tokens = [hashes[0] % s.vocab]
    for value in hashes[1:]:
        tokens.append((5 * tokens[-1] + 7 + value % 4) % s.vocab)
    return tokens


def batch(s, step, rank, ranks):
    rows = torch.tensor([row(s, (step * ranks + rank) * s.micro + b) for b in range(s.micro)])
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def join(rank, ranks, port):
    os.sched_setaffinity(0, {rank})
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)


def one_step(net, model, opt, ids, targets):
    opt.zero_grad(set_to_none=True)
    loss = net(ids, targets)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    return loss.item()


def wrapped(model, mode):
    net = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    return torch.compile(net, dynamic=False) if mode == "compiled" else net


def work(rank, name, ranks, steps, mode, port):
    join(rank, ranks, port)
    s = SIZES[name]
    model = drawn(s)
    net, opt = wrapped(model, mode), optimizer(model)
    losses, wall, cpu = [], [], []
    for ids, targets in [batch(s, step, rank, ranks) for step in range(steps)]:
        start, spent = time.perf_counter(), time.process_time()
        losses.append(one_step(net, model, opt, ids, targets))
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    sums = torch.tensor(losses, dtype=torch.float64)
    dist.all_reduce(sums)
    memory = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    dist.all_reduce(memory, op=dist.ReduceOp.MAX)
    if rank == 0:
        tokens = s.micro * s.length * ranks
        step, spent = statistics.median(wall[WARM_UP:]), statistics.median(cpu[WARM_UP:])
        print(json.dumps({"tokens_per_s": tokens / step, "step_s": step, "cpu_s": spent, "peak_rss_mib": memory.item(),
                          "losses": (sums / ranks).tolist()}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


if __name__ == "__main__":
    name, ranks, steps, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if name not in SIZES or mode not in ("eager", "compiled") or not 1 <= ranks <= os.cpu_count() or steps <= WARM_UP:
        sys.exit(f"usage: {__doc__}")
    mp.spawn(work, (name, ranks, steps, mode, free_port()), nprocs=ranks)
