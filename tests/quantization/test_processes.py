"""Two real processes: running ranges and gradients as in one."""

import multiprocessing
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from fairseq.quantization import quantize_model, quantizer_state

UPDATES, MICRO_BATCHES = 2, 4


def data() -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [[torch.randn(5, 6, generator=generator) for _ in range(MICRO_BATCHES)] for _ in range(UPDATES)]


def train(rank: int, world: int) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Every W-th micro-batch; returns quantizer state and the summed gradients of the last update."""
    torch.manual_seed(0)
    model = quantize_model(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3)), "int8")
    for update, batches in enumerate(data()):
        model.zero_grad()
        for number in range(rank, MICRO_BATCHES, world):
            model.quantization.begin_micro_batch(update, number)
            model(batches[number]).square().sum().backward()
        model.quantization.end_update(model)
    gradients = [parameter.grad for parameter in model.parameters()]
    if world > 1:
        for gradient in gradients:
            dist.all_reduce(gradient)
    return quantizer_state(model), gradients


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(train(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    context: Any = multiprocessing.get_context("spawn")
    processes = [context.Process(target=worker, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    state, gradients = train(0, 1)
    for rank in range(2):
        other_state, other_gradients = torch.load(tmp_path / f"{rank}.pt")
        assert state.keys() == other_state.keys()
        assert all(torch.allclose(state[key], other_state[key], atol=1e-6) for key in state)
        for ours, theirs in zip(gradients, other_gradients, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
