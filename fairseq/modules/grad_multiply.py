"""The identity whose gradient is multiplied by a constant: a slower learning rate for everything below.

>>> x = torch.ones(2, requires_grad=True)
>>> GradMultiply.apply(x, 0.5).sum().backward()
>>> x.grad
tensor([0.5000, 0.5000])
"""

from typing import Any

import torch
from torch import Tensor


class GradMultiply(torch.autograd.Function):
    """`GradMultiply.apply(x, scale)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad * ctx.scale, None
