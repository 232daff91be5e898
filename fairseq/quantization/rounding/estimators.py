"""More gradients of rounding, each a slope by which dL/dy is multiplied.

    trust      1 where |Q(x) - x| is at most half a step, else 0
    within:C   1 where |x| is at most C times the outermost level, else 0
    ede        a k t (1 - tanh(t x)^2) for levels -a and a,   t = 0.1 * 100^p,   k = max(1 / t, 1)

p is the share of the run that is done, so t goes from 0.1 at the first update to 10 at the last.

Sources: QuEST, arXiv:2502.05003, section 3.2 (`trust`: with its default threshold the mask is that of values within
half a step of the outermost levels; its runs of 1 bit have `within:1.3`); IR-Net, arXiv:1909.10788, equations 8-10
(`ede`: T_min 0.1, T_max 10; the scale a multiplies the sign, so it multiplies the slope).

>>> from fairseq.quantization.formats import build_format
>>> midrise = build_format("midrise")
>>> qparams = midrise.qparams(torch.tensor(-3.0), torch.tensor(3.0), num_bits=2)            # levels -3, -1, 1, 3
>>> x = torch.tensor([0.0, 3.8, 4.1])
>>> Trust().slope(midrise, x, qparams, 0.0), Within(1.3).slope(midrise, x, qparams, 0.0)
(tensor([ True,  True, False]), tensor([ True,  True, False]))
"""

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.rounding.straight_through import BACKWARDS, Backward

T_MIN, T_MAX = 0.1, 10.0


def _outermost(number_format: NumberFormat, qparams: QParams) -> tuple[Tensor, Tensor]:
    """The least and the largest value of the levels in force."""
    low, high = (
        number_format.dequantize(torch.full_like(qparams.scale, end), qparams)
        for end in (qparams.quant_min, qparams.quant_max)
    )
    return low, high


@BACKWARDS.register("trust")
class Trust(Backward):
    """The gradient passes where rounding has moved a value by at most `threshold` half steps."""

    is_mask = True

    def __init__(self, threshold: float = 1.0):
        if not threshold > 0:
            raise ConfigError(f"ste trust: the threshold, in half steps, lies above 0, got {threshold}")
        self.threshold = threshold

    def slope(self, number_format: NumberFormat, x: Tensor, qparams: QParams, progress: float) -> Tensor:
        low, high = _outermost(number_format, qparams)
        half_step = (high - low) / (2 * (qparams.quant_max - qparams.quant_min))
        error = number_format.fake_quantize(x, qparams).sub_(x).abs_()
        return error <= half_step * self.threshold


@BACKWARDS.register("within")
class Within(Backward):
    """The gradient passes up to a multiple of the outermost level."""

    is_mask = True

    def __init__(self, multiple: float = 1.0):
        if not multiple > 0:
            raise ConfigError(f"ste within: the multiple of the outermost level lies above 0, got {multiple}")
        self.multiple = multiple

    def slope(self, number_format: NumberFormat, x: Tensor, qparams: QParams, progress: float) -> Tensor:
        low, high = _outermost(number_format, qparams)
        return x.abs() <= torch.maximum(-low, high) * self.multiple


@BACKWARDS.register("ede")
class ErrorDecay(Backward):
    """The error decay estimator: from the identity to a step, over the run."""

    def check(self, number_format: NumberFormat, where: str) -> None:
        if number_format.fixed_bits != 1 or not number_format.is_symmetric:
            raise ConfigError(f"{where}: ste ede is for two levels, -a and a; the format {number_format} has others")

    def slope(self, number_format: NumberFormat, x: Tensor, qparams: QParams, progress: float) -> Tensor:
        t = T_MIN * (T_MAX / T_MIN) ** progress
        k = max(1 / t, 1.0)
        return (x * t).tanh_().square_().neg_().add_(1).mul_(qparams.scale * (k * t))
