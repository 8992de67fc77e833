"""How long PyTorch's asynchronous checkpoint stops two ranks of size small: the pair of `checkpoint_stall`.

    stall.py RANKS REPEATS FOLDER

Prints the seconds of each repetition: of the call (async_save, in a thread), and by how much the steps beside the write were slower.
"""
import json
import os
import shutil
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.state_dict import get_state_dict

import train


def work(rank, ranks, repeats, folder, port):
    train.join(rank, ranks, port)
    s = train.SIZES["small"]
    model = train.drawn(s)
    net, opt = train.wrapped(model, "eager"), train.optimizer(model)
    own = dist.new_group(backend="gloo")  # the saving thread must not share DDP's group
    ids, targets = train.batch(s, 0, rank, ranks)

    def timed_step():
        start = time.perf_counter()
        train.one_step(net, model, opt, ids, targets)
        return time.perf_counter() - start

    base = statistics.median([timed_step() for _ in range(5)][2:])
    for repeat in range(repeats + 1):  # the first starts helpers and is left out
        place = os.path.join(folder, f"dcp-{repeat}")
        dist.barrier()
        start = time.perf_counter()
        weights, moments = get_state_dict(model, opt)
        saved = dcp.async_save({"model": weights, "opt": moments}, checkpoint_id=place, process_group=own)
        call = time.perf_counter() - start
        slower, busy = 0.0, torch.ones(1)
        while busy.item() > 0:
            slower += timed_step() - base
            busy = torch.tensor([0.0 if saved.done() else 1.0])
            dist.all_reduce(busy)
        saved.result()
        if repeat > 0 and rank == 0:
            print(json.dumps({"call_s": call, "slower_s": slower}), flush=True)
        dist.barrier()
        if rank == 0:
            shutil.rmtree(place)
    dist.destroy_process_group()


if __name__ == "__main__":
    ranks, repeats, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    mp.spawn(work, (ranks, repeats, folder, train.free_port()), nprocs=ranks)
