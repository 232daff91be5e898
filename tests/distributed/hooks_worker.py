"""One of the processes of `test_hooks.py`: a few updates by each hook, beside the exact mean.

python hooks_worker.py RANK WORLD_SIZE MEETING_FILE RESULT_FILE
"""

import json
import sys

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fairseq.distributed import hooks

STEPS = 8


def run(name: str) -> dict:
    """Relative error of the first mean, and of the sum of all means; bytes sent a step; whether replicas agree."""
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(256, 192), nn.Tanh(), nn.Linear(192, 64)), bucket_cap_mb=0.1
    )
    sent = []
    register = model.register_comm_hook
    model.register_comm_hook = lambda exchange, hook: (sent.append(exchange), register(exchange, hook))
    hooks.add_hook(model, name)
    inputs = [torch.randn(32, 256, generator=torch.Generator().manual_seed(rank)) for rank in range(world)]
    model(inputs[rank]).square().mean().backward()  # forms the buckets of all later steps
    first = torch.cat([p.grad.flatten() for p in model.parameters()])
    sums, equal = None, True
    for _ in range(STEPS):
        model.zero_grad()
        start = sum(exchange.sent for exchange in sent)
        model(inputs[rank]).square().mean().backward()
        own = torch.cat([p.grad.flatten() for p in model.parameters()])
        others = [torch.empty_like(own) for _ in range(world)]
        dist.all_gather(others, own)
        equal = equal and all(torch.equal(other, own) for other in others)
        sums = own if sums is None else sums + own
        step = sum(exchange.sent for exchange in sent) - start
    model.zero_grad()
    whole = sum(model.module(x).square().mean() for x in inputs) / world
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(whole, list(model.module.parameters()))])
    return {
        "first": float((first - exact).norm() / exact.norm()),
        "mean": float((sums / STEPS - exact).norm() / exact.norm()),
        "sent": step,
        "raw": 2 * (world - 1) * exact.numel() * 4 / world,
        "equal": equal,
    }


def main() -> None:
    rank, world, meeting, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    rows = {name: run(name) for name in hooks.NAMES}
    if rank == 0:
        with open(result, "w") as file:
            json.dump(rows, file)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
