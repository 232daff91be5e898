"""A tensor as kernels see it: a matrix in memory, with one scale for all, per row or per column.

>>> import torch
>>> x = torch.zeros(4, 2, 3)
>>> scale_shape(torch.ones(()), x), scale_shape(torch.ones(4, 2, 1), x), scale_shape(torch.ones(1, 1, 3), x)
((1, 1), (8, 1), (1, 3))
>>> x, out = in_memory_order(x.permute(2, 0, 1), x.permute(2, 0, 1))
>>> tuple(x.shape), x.is_contiguous()
((4, 2, 3), True)
"""

from typing import Optional

from torch import Tensor


def scale_shape(scale: Tensor, x: Tensor) -> Optional[tuple[int, int]]:
    """The scale's shape beside x as a matrix: one for all, one per row, one per column; None: another one."""
    if scale.numel() == 1:
        return 1, 1
    if scale.dim() == x.dim() and scale.shape[-1] == 1 and scale.shape[:-1] == x.shape[:-1]:
        return scale.numel(), 1
    if scale.shape[-1] == x.shape[-1] == scale.numel():
        return 1, scale.numel()
    return None


def in_memory_order(x: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the axes in the order in which x has them in memory."""
    if x.is_contiguous():
        return x, out
    strides = x.stride()
    axes = sorted(range(x.dim()), key=lambda axis: -strides[axis])
    return x.permute(axes), out.permute(axes)
