"""A learned scale per row of a weight, with the gradients of ParetoQ.

    A = max(alpha, 1e-5),   y = A q(w / A),   u = w / A
    dL/dw = g where u is inside, else 0
    dL/dalpha = G sum_row d g,   G = 1 / sqrt(values of the whole weight * max(2^(b-1) - 1, 1))

| format | inside | d inside | d outside | alpha starts at |
| --- | --- | --- | --- | --- |
| `binary`, 1 bit | |u| <= 1 | sign w | sign w | mean |w| |
| `stretched`, `zero: true` | |u| <= 0.99 | q - u | +-1 | max |w| |
| `stretched` | |u| <= 0.99 | q - u | +-outermost level | max |w| |
| `signed`, `symmetric` | smallest to largest code | round(u) - u | that code | max |w| / largest code |

Liu et al., arXiv:2502.02631, and the released code: SEQ for ternary and 2 bits, LSQ for 3, 4. Outside of three levels
the code has +-1, where its own level is +-2/3. A weight of exactly 0 is rounded to +A at 1 bit, so that two values are
all there are; the released code has 0 there.

>>> from fairseq.quantization.formats import build_format
>>> w = torch.tensor([[0.6, -0.1]])
>>> LearnedAlpha.apply(w, torch.tensor([[1.0]]), build_format("stretched"), 2)
tensor([[ 0.7500, -0.2500]])
"""

from typing import Any

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.observers.base import largest_magnitude
from fairseq.quantization.rounding.learned_qparams import LEARNED_QPARAMS, LearnedQParams

LEAST = 1e-5
INSIDE = 0.99  # of the stretched levels' range


def _edges(number_format: NumberFormat, num_bits: int) -> tuple[float, float, float, float]:
    """Where "inside" begins and ends, and d below and above it."""
    if number_format.is_uniform:
        low, high = number_format.code_range(num_bits)
        return low, high, low, high
    if number_format.fixed_bits == 1:
        return -1.0, 1.0, -1.0, 1.0
    out = 1.0 if number_format.has_exact_zero else number_format.max_value(num_bits)
    return -INSIDE, INSIDE, -out, out


class LearnedAlpha(torch.autograd.Function):
    """`w` rounded to levels of scale `alpha`, which broadcasts against it."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, alpha: Tensor, number_format: NumberFormat, num_bits: int) -> Tensor:
        scale = alpha.clamp(min=LEAST)
        ctx.save_for_backward(w, scale)
        ctx.format, ctx.num_bits, ctx.shape = number_format, num_bits, alpha.shape
        return number_format.fake_quantize(w, _qparams(scale, number_format, num_bits))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        w, scale = ctx.saved_tensors
        low, high, below, above = _edges(ctx.format, ctx.num_bits)
        u = w / scale
        inside = (u >= low) & (u <= high)
        q = ctx.format.fake_quantize(w, _qparams(scale, ctx.format, ctx.num_bits)) / scale
        rises = q if ctx.format.fixed_bits == 1 else torch.where(inside, q - u, torch.where(u < low, below, above))
        factor = (w.numel() * max(2 ** (ctx.num_bits - 1) - 1, 1)) ** -0.5
        return grad * inside, (rises * grad).sum_to_size(ctx.shape) * factor, None, None


def _qparams(scale: Tensor, number_format: NumberFormat, num_bits: int) -> QParams:
    return QParams(scale, torch.zeros_like(scale), *number_format.code_range(num_bits))


@LEARNED_QPARAMS.register("alpha")
class Alpha(LearnedQParams):
    """ParetoQ's scale."""

    what = "scale"

    @classmethod
    def check(cls, number_format: NumberFormat, path: str, name: str) -> None:
        is_listed = not number_format.is_uniform and number_format.is_symmetric and not number_format.needs_statistic
        is_integer = number_format.is_uniform and number_format.has_exact_zero and not number_format.zero_point_bits
        if not (number_format.scale_is_free and (is_listed or is_integer)):
            raise ConfigError(f"{path}: learned {name} is for binary, stretched and signed, not {number_format}")

    def create_parameters(self, shape: tuple[int, ...]) -> None:
        self.alpha = nn.Parameter(torch.ones(shape))

    def start(self, x: Tensor) -> None:
        axes = self.granularity.reduced(x)
        if self.format.fixed_bits == 1:
            self.set_first(self.alpha, x.abs().mean(axes, keepdim=True))
        else:
            steps = self.format.max_value(self.calibration_bits) if self.format.is_uniform else 1.0
            self.set_first(self.alpha, largest_magnitude(x, axes) / steps)

    def qparams(self, x: Tensor, num_bits: int) -> QParams:
        self.ensure_initialized(x)
        return _qparams(self.alpha.detach().clamp(min=LEAST), self.format, num_bits)

    def forward(self, x: Tensor, num_bits: int) -> Tensor:
        self.ensure_initialized(x)
        return LearnedAlpha.apply(x, self.alpha, self.format, num_bits)  # type: ignore[no-any-return, no-untyped-call]
