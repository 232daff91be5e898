"""Grids that are trained with the weights.

Learned step size (LSQ, Esser et al., arXiv:1902.08153, equations 1-3; with a zero point, LSQ+, Bhalgat et al.
2004.09576):

    y = (clamp(round(x / s) + z, qmin, qmax) - z) * s
    dy/dx = 1 inside, 0 outside
    dy/ds = round(x/s) - x/s inside, (qmin - z) or (qmax - z) outside;   dy/dz = 0 inside, -s outside
    gradients of s and z are scaled by 1 / sqrt(values per scale * qmax);   s starts at 2 mean|x| / sqrt(qmax)

Learned clip (PACT, Choi et al., arXiv:1805.06085, equations 2-3): y = clip(x, 0, a), dy/da = 1 where x >= a. For a
signed format the clip is [-a, a], and dy/da = -1 where x < -a.

>>> x, s = torch.tensor([0.4, 9.0]), torch.tensor([1.0], requires_grad=True)
>>> LearnedScale.apply(x, s, None, -7, 7, 1.0).sum().backward()
>>> s.grad                            # (0 - 0.4) + 7
tensor([6.6000])
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.quantization.formats import NumberFormat


class LearnedScale(torch.autograd.Function):
    """Fake quantization with gradients for scale and zero point, equal to torch's `_fake_quantize_learnable_*`
    operators.

    Scale and zero point broadcast against `x`; the zero point is rounded and clamped to a code, None stands for 0.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Optional[Tensor], qmin: int, qmax: int, grad_factor: float
    ) -> Tensor:
        zero = torch.zeros_like(scale) if zero_point is None else zero_point.round().clamp(qmin, qmax)
        ctx.save_for_backward(x, scale, zero)
        ctx.bounds, ctx.grad_factor, ctx.has_zero_point = (qmin, qmax), grad_factor, zero_point is not None
        codes = (x * scale.reciprocal()).round_().add_(zero).clamp_(qmin, qmax)
        return codes.sub_(zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, scale, zero = ctx.saved_tensors
        qmin, qmax = ctx.bounds
        grad_x = grad_scale = grad_zero = None
        codes = (x * scale.reciprocal()).round_().add_(zero)
        inside = (codes >= qmin) & (codes <= qmax)
        if ctx.needs_input_grad[0]:
            grad_x = grad * inside
        if ctx.needs_input_grad[1]:
            steps = codes.clamp_(qmin, qmax).sub_(zero)  # y / s
            slope = torch.where(inside, (steps * scale).sub_(x).div_(scale), steps)
            grad_scale = (grad * slope).sum_to_size(scale.shape).mul_(ctx.grad_factor)
        if ctx.has_zero_point and ctx.needs_input_grad[2]:
            grad_zero = (grad * ~inside * -scale).sum_to_size(scale.shape).mul_(ctx.grad_factor)
        return grad_x, grad_scale, grad_zero, None, None, None


class LearnedClip(torch.autograd.Function):
    """`x` clipped at `clip` and rounded to levels on [0, clip], or on [-clip, clip] if the format is signed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: Tensor, number_format: NumberFormat, num_bits: int) -> Tensor:
        low = -clip if number_format.is_signed(num_bits) else torch.zeros_like(clip)
        ctx.save_for_backward(x, clip, low)
        qparams = number_format.qparams(low, clip, num_bits)
        return number_format.fake_quantize(torch.minimum(torch.maximum(x, low), clip), qparams)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, clip, low = ctx.saved_tensors
        above = x >= clip
        below = x < low
        grad_x = grad.masked_fill(above | below, 0) if ctx.needs_input_grad[0] else None
        grad_clip = None
        if ctx.needs_input_grad[1]:
            # at the lower end the slope is d low / d clip: -1 on a symmetric grid, 0 where the end is fixed at 0
            slope = above.to(grad.dtype) - below.to(grad.dtype) * (low != 0)
            grad_clip = (grad * slope).sum_to_size(clip.shape)
        return grad_x, grad_clip, None, None
