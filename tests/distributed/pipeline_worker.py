"""One of the processes of `test_pipeline_stages.py`: every schedule and codec beside one process.

    python pipeline_worker.py RANK WORLD_SIZE MEETING_FILE RESULT_FILE

The reference computes stage by stage what the processes compute together, and sends what crosses from one process to
another through the codecs. The first process writes the largest differences as JSON.
"""

import json
import sys

import torch
from torch import distributed as dist
from torch import nn

from fairseq.distributed.codecs import codec
from fairseq.distributed.pipeline import schedules
from fairseq.distributed.pipeline.stage import CodecStage, message_seed

WIDTH, LENGTH, ROWS, CHUNKS = 64, 6, 8, 4
STAGES = {
    "gpipe": 2,
    "1f1b": 2,
    "interleaved": 4,
    "looped_bfs": 4,
    "interleaved_zero_bubble": 4,
    "zbv": 4,
    "dualpipev": 4,
}
CODECS = [
    (None, None), ("group:4,64", "group:8,64,sr"), ("quantile:2,6", "tensor:8"), ("mxfp4", "mxint8"),
    ("topk:0.5+group:8,64", "topk:0.5+group:8,64"), ("hadamard+group:4,64", "lowrank:4"),
]  # fmt: skip


class Block(nn.Module):
    """A residual block."""

    def __init__(self, seed: int):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.linear(self.norm(x)))


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().sum()


def reference(blocks, places, forward, backward, x, target, update):
    """Leaves the gradients in `blocks`; nothing but their order depends on a schedule."""
    for chunk, (part, wanted) in enumerate(zip(x.chunk(CHUNKS), target.chunk(CHUNKS), strict=True)):
        entries, outputs, masks = [], [], {}
        y = part
        for stage, block in enumerate(blocks):
            entry = y.detach().requires_grad_(stage > 0)
            entries.append(entry)
            y = block(entry)
            outputs.append(y)
            crosses = stage + 1 < len(blocks) and places[stage] != places[stage + 1]
            if crosses and forward is not None:
                message = forward.encode(y, message_seed(update, stage, "forward", chunk))
                masks[stage] = forward.mask(message, y.shape)
                y = forward.decode(message, y.shape)
        loss(outputs[-1], wanted).backward()
        for stage in range(len(blocks) - 2, -1, -1):
            grad = entries[stage + 1].grad
            if places[stage] != places[stage + 1] and backward is not None:
                used = backward.with_mask(masks.get(stage)) if backward.shares_mask(forward) else backward
                grad = used.round_trip(grad, message_seed(update, stage, "backward", chunk))
            outputs[stage].backward(grad)


def run(name: str, forward, backward, update: int):
    """(largest gradient, largest difference, bytes sent to the next process, bytes stated) of one step."""
    rank, world = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(0)
    x, target = (torch.randn(ROWS, LENGTH, WIDTH, generator=generator) for _ in range(2))
    places = schedules.places(name, STAGES[name], world)
    part = x.chunk(CHUNKS)[0].clone()
    inner = part.clone().requires_grad_()  # stages receive gradients for what says that it wants them
    stages = [
        CodecStage(Block(index), index, STAGES[name], torch.device("cpu"), input_args=inner if index else part,
                   output_args=inner, forward=forward, backward=backward)
        for index, place in enumerate(places) if place == rank
    ]  # fmt: skip
    for stage in stages:
        stage.update = update
    schedule = schedules.build(name, stages, CHUNKS, loss)
    args = (x,) if 0 in [stage.stage_index for stage in stages] else ()
    schedule.step(*args, target=target)
    own = {stage.stage_index: [p.grad for p in stage.submod.parameters()] for stage in stages}
    sent = sum(stage.traffic["forward"].sent for stage in stages)
    messages = sum(stage.traffic["forward"].messages for stage in stages)
    stated = messages * (forward.size(part.shape) if forward is not None else part.numel() * 4)
    gathered = [None] * world
    dist.all_gather_object(gathered, own)
    blocks = [Block(index) for index in range(STAGES[name])]
    reference(blocks, places, forward, backward, x, target, update)
    found = {index: grads for part in gathered for index, grads in part.items()}
    pairs = [
        (p.grad, grad)
        for index, block in enumerate(blocks)
        for p, grad in zip(block.parameters(), found[index], strict=True)
    ]
    largest = max(float(a.abs().max()) for a, _ in pairs)
    return largest, max(float((a - b).abs().max()) for a, b in pairs), sent, stated


def main() -> None:
    rank, world, meeting, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    rows = []
    for name in STAGES:
        for update, (forward, backward) in enumerate(CODECS):
            numbers = run(name, *(None if spec is None else codec(spec) for spec in (forward, backward)), update)
            rows.append([name, forward, *numbers])
    if rank == 0:
        with open(result, "w") as file:
            json.dump(rows, file)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
