"""Gradients of large embeddings that hold only the rows of the batch, and Adam on them.

A batch of 1,024 tokens touches at most 1,024 of RoBERTa's 50,265 rows, but a dense gradient fills, scales, measures and
steps through all of them: 154 MB for each pass. `use_row_gradients` lets `nn.Embedding` return (rows, values) instead,
and `RowUpdate` makes of them the very update that Adam makes of the dense gradient:

    rows that ever had a gradient ("active")   Adam's formula, with gradient 0 where the batch has no such row
    all other rows                             m = v = 0, so only weight decay: p = p - lr * weight_decay * p

The active rows are those whose m or v is not 0, so nothing beyond Adam's own state needs to be saved.

>>> table = torch.nn.Embedding(5000, 4)
>>> use_row_gradients(table)
1
>>> table(torch.tensor([3, 3, 7])).sum().backward()
>>> table.weight.grad.coalesce().values().shape
torch.Size([2, 4])
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# below this the dense gradient costs less than finding out which rows have one
MIN_ROWS = 4096
# an active row is read and written once more than a row of the dense update
DENSE_SHARE = 0.4


def use_row_gradients(model: nn.Module) -> int:
    """Switch large, trained embeddings of `model` on the CPU to row gradients; returns how many there are.

    Where the same matrix is also an output layer, autograd adds that layer's dense gradient, and the sum is dense.
    """
    tables = [
        module
        for module in model.modules()
        if type(module) is nn.Embedding
        and module.num_embeddings >= MIN_ROWS
        and module.weight.requires_grad
        and module.weight.device.type == "cpu"
        and module.max_norm is None
        and not module.scale_grad_by_freq
    ]
    for table in tables:
        table.sparse = True
    return len(tables)


class RowUpdate:
    """Adam's update of one embedding (V, D) from its row gradients."""

    def __init__(self) -> None:
        self._active = torch.empty(0, dtype=torch.bool)

    def __call__(
        self,
        p: Tensor,
        grad: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        group: dict[str, Any],
        update: Callable[[list[Tensor], list[Tensor], list[Tensor], list[Tensor]], None],
    ) -> None:
        """Update `p` and its statistics in place.

        Args:
            grad: sparse, as `nn.Embedding` makes it.
            group: Adam's settings; `lr` and `weight_decay` are read here.
            update: the dense update of (params, grads, exp_avgs, exp_avg_sqs).
        """
        grad = grad.coalesce()
        rows, values = grad._indices()[0], grad._values()
        if self._active.numel() != len(p):
            self._active = exp_avg.ne(0).any(dim=1).logical_or_(exp_avg_sq.ne(0).any(dim=1))
        self._active[rows] = True
        active = self._active.nonzero().squeeze(1)
        if len(active) > DENSE_SHARE * len(p):
            update([p], [torch.zeros_like(p).index_copy_(0, rows, values)], [exp_avg], [exp_avg_sq])
            return
        parts = [tensor.index_select(0, active) for tensor in (p, exp_avg, exp_avg_sq)]
        dense = torch.zeros_like(parts[0]).index_copy_(0, torch.searchsorted(active, rows), values)
        update([parts[0]], [dense], [parts[1]], [parts[2]])
        if group["weight_decay"] != 0:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        for tensor, part in zip((p, exp_avg, exp_avg_sq), parts, strict=True):
            tensor.index_copy_(0, active, part)
