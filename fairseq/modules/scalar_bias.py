"""A place that attention can fall back to: one more constant in front along a dimension.

>>> import torch
>>> scalar_bias(torch.ones(1, 2), dim=1, bias_init=0.5)
tensor([[0.5000, 1.0000, 1.0000]])
"""

from typing import Any

import torch
from torch import Tensor


class ScalarBias(torch.autograd.Function):
    """`input` with `bias_init` in front of it along `dim`; no gradient reaches the constant."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, dim: int, bias_init: float) -> Tensor:
        ctx.dim = dim
        front = input.new_full(input.select(dim, 0).unsqueeze(dim).shape, bias_init)
        return torch.cat([front, input], dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad.narrow(ctx.dim, 1, grad.size(ctx.dim) - 1), None, None


def scalar_bias(input: Tensor, dim: int, bias_init: float = 0) -> Tensor:
    return ScalarBias.apply(input, dim, bias_init)
