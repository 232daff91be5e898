"""Data parallelism without hooks: gradients are averaged when `all_reduce_grads` is called.

model = LegacyDistributedDataParallel(model, process_group=None)
loss.backward()
model.all_reduce_grads()
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fairseq.distributed import collectives


class LegacyDistributedDataParallel(nn.Module):
    """`module` in every process of a group.

    Args:
        process_group: None for all processes.
        buffer_size: elements that are summed at once.
    """

    def __init__(self, module: nn.Module, process_group: Any, buffer_size: int = 2**28):
        super().__init__()
        self.module, self.process_group = module, process_group
        self.world_size = collectives.get_world_size(process_group)
        self.buffer_size = min(buffer_size, sum(weight.numel() for weight in module.parameters()))
        self.accumulate_grads = False  # True while gradients are only added up

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """A block in which `all_reduce_grads` does nothing."""
        before, self.accumulate_grads = self.accumulate_grads, True
        try:
            yield
        finally:
            self.accumulate_grads = before

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)

    @torch.no_grad()
    def all_reduce_grads(self) -> None:
        """Average all gradients over the processes, in place; those that a process lacks count as zero."""
        if self.world_size == 1 or self.accumulate_grads:
            return
        grads = []
        for weight in self.module.parameters():
            if weight.requires_grad and not hasattr(weight, "expert"):
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                grads.append(weight.grad)
        while grads:
            piece = [grads.pop(0)]
            size = piece[0].numel()
            while grads and grads[0].dtype == piece[0].dtype and size + grads[0].numel() <= self.buffer_size:
                size += grads[0].numel()
                piece.append(grads.pop(0))
            flat = torch.cat([grad.flatten() for grad in piece]).div_(self.world_size)
            collectives.all_reduce(flat, self.process_group)
            for grad, mean in zip(piece, flat.split([grad.numel() for grad in piece]), strict=True):
                grad.copy_(mean.view_as(grad))
