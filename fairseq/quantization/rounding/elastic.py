"""Elastic binarization: a learned scale and threshold for activations of one bit.

    binary             y = a sign(x - b)                              sign(0) = +1
    binary_unsigned    y = a round(clip((x - b) / a, 0, 1))

    dL/dx = g where |x - b| <= a (of the second: where x - b lies in [0, a]), else 0;   dL/db = -sum of dL/dx
    dL/da = sum(g sign(x - b)) / sqrt(n), of the first
    dL/da = sum(g d) / sqrt(n),   v = (x - b) / a,   d = 0 below 0, -v below 1/2, 1 - v up to 1, 1 above

n: values of the tensor. a starts at 2 mean |x| (of the second, 4 mean |x|) of the first batch, b at 0; b is one number
per channel where their count is known, else one. Liu et al., BiT, arXiv:2205.13016, equations 5-9; which of the two
formats a tensor takes is its rule of two sets: {0, 1} where nothing is negative (behind a softmax or a ReLU).

>>> from fairseq.quantization.formats import build_format
>>> x = torch.tensor([0.3, -2.0, 0.0])
>>> Elastic.apply(x, torch.tensor([0.5]), torch.tensor([0.0]), build_format("binary"))
tensor([ 0.5000, -0.5000,  0.5000])
"""

from typing import Any

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.rounding.learned_qparams import LEARNED_QPARAMS, LearnedQParams
from fairseq.quantization.rounding.straight_through import positive

LEAST = 1e-8


class Elastic(torch.autograd.Function):
    """`x` rounded to two levels, with gradients for scale and threshold."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, threshold: Tensor, number_format: NumberFormat) -> Tensor:
        ctx.save_for_backward(x, scale, threshold)
        ctx.is_signed = number_format.is_symmetric
        qparams = QParams(scale, torch.zeros_like(scale), *number_format.code_range(1))
        return number_format.fake_quantize(x - threshold, qparams)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, scale, threshold = ctx.saved_tensors
        v = (x - threshold) / scale
        if ctx.is_signed:
            inside = v.abs() <= 1
            rises = torch.where(v >= 0, 1.0, -1.0).to(v.dtype)
        else:
            inside = (v >= 0) & (v <= 1)
            rises = torch.where(v > 0.5, torch.where(v > 1, torch.ones_like(v), 1 - v), -v.clamp(min=0))
        grad_x = grad * inside
        grad_scale = (grad * rises).sum_to_size(scale.shape) * x.numel() ** -0.5
        return grad_x, grad_scale, -grad_x.sum_to_size(threshold.shape), None


@LEARNED_QPARAMS.register("elastic")
class ElasticBinary(LearnedQParams):
    """BiT's scale and threshold."""

    what = "scale"

    @classmethod
    def check(cls, number_format: NumberFormat, path: str, name: str) -> None:
        if number_format.fixed_bits != 1 or number_format.needs_statistic:
            raise ConfigError(f"{path}: learned {name} is for binary and binary_unsigned, not {number_format}")

    def create_parameters(self, shape: tuple[int, ...]) -> None:
        self.scale = nn.Parameter(torch.ones(shape))
        self.threshold = nn.Parameter(torch.zeros(self.values_shape[-1:] if self.values_shape else (1,)))

    def start(self, x: Tensor) -> None:
        axes = self.granularity.reduced(x)
        multiple = 2 if self.format.is_symmetric else 4
        self.set_first(self.scale, (multiple * x.abs().mean(axes, keepdim=True)).clamp(min=LEAST))

    def qparams(self, x: Tensor, num_bits: int) -> QParams:
        self.ensure_initialized(x)
        scale = positive(self.scale.detach(), LEAST)
        return QParams(scale, torch.zeros_like(scale), *self.format.code_range(num_bits))

    def steered(self, x: Tensor) -> Tensor:
        return x - self.threshold

    def forward(self, x: Tensor, num_bits: int) -> Tensor:
        self.ensure_initialized(x)
        return Elastic.apply(x, positive(self.scale, LEAST), self.threshold, self.format)  # type: ignore[no-any-return, no-untyped-call]
