"""The straight-through estimator: rounding has slope 0 or infinity, so training pretends that it has slope 1.

    plain     dL/dx = dL/dy                           everywhere, also where y was clamped
    clipped   dL/dx = dL/dy * [qmin <= code <= qmax]  zero where clamping took the value

>>> x = torch.tensor([0.2, 5.0], requires_grad=True)
>>> Clipped.apply(x, torch.tensor([0.0, 3.0]), torch.tensor([True, False])).sum().backward()
>>> x.grad
tensor([1., 0.])
"""

from typing import Any

import torch
from torch import Tensor


class Plain(torch.autograd.Function):
    """`value` in place of `x`; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Clipped(torch.autograd.Function):
    """`value` in place of `x`; the gradient passes where `inside` is true."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, inside: Tensor) -> Tensor:
        ctx.save_for_backward(inside)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None
