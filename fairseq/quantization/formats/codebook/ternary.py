"""Ternary numbers: -a, 0 and a.

    D = threshold * mean |x|,   a = mean of |x| over |x| > D,   value = a sign(x) where |x| > D, else 0

With threshold 0.7 these are Ternary Weight Networks (Li and Liu, arXiv:1605.04711, equations 5-6), which come near to
the least squared error. `threshold: 0.5, scale: mean` has a = mean |x| and D = a / 2: BitNet b1.58 (arXiv:2402.17764).
Both numbers are taken over the values that share a scale; granularity `channel` makes them per row of a weight. A
running range averages D and a.

A value at D itself becomes 0. Under stochastic rounding there is no threshold: what lies between two levels goes to one
of them, so that the mean is the value itself. Codes are 0, 1, 2. A range in place of the statistic, as a caller of
`qparams` may have, gives a = its larger magnitude, and D = a / 2.

>>> number_format = Ternary()
>>> x = torch.tensor([[3.0, -1.0, 0.25, -0.25, 0.5]])                       # mean |x| = 1, D = 0.7
>>> qparams = number_format.qparams(*number_format.statistic(x, axes=(1,)), num_bits=2)
>>> number_format.fake_quantize(x, qparams)
tensor([[ 2., -2.,  0.,  0.,  0.]])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, LevelTable, Noise, NumberFormat, QParams
from fairseq.quantization.formats.codebook.given import Codebook
from fairseq.quantization.formats.codebook.levels import MIN_SCALE, mean_of
from fairseq.quantization.formats.fields import choice, number

SCALES = ("above", "mean")


@FORMATS.register("ternary")
class Ternary(NumberFormat):
    """Three levels and a threshold. `zero_point` of its parameters is the threshold, which values do without.

    Args:
        threshold: in units of the mean magnitude.
        scale: `above`: the mean of the magnitudes above the threshold; `mean`: of all.
    """

    name = "ternary"
    is_uniform = False  # evenly spaced, but rounded at a threshold of their own
    has_exact_zero = True
    covers_ends = False
    is_symmetric = True
    fixed_bits = min_bits = max_bits = 2
    needs_statistic = True
    ties = "inward"

    def __init__(self, *, threshold: float = 0.7, scale: str = "above"):
        self.threshold = number(threshold, "threshold", self.name, 0, 1)
        self.scale = choice(scale, "scale", self.name, SCALES)

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Threshold and level."""
        size = x.abs()
        mean = mean_of(size, axes)
        threshold = mean * self.threshold
        if self.scale == "mean":
            return threshold, mean
        level = mean_of(size, axes, only=size > threshold)
        return threshold, torch.where(mean.isfinite(), level, mean)  # above an infinite threshold there is nothing

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        level = torch.maximum(-low, high).clamp(min=MIN_SCALE)
        return QParams(level, torch.where(low < 0, level / 2, low), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 2

    def max_value(self, num_bits: int) -> float:
        return 1.0

    def with_scale(self) -> NumberFormat:
        """The nearest of three levels: where the scale is given, no threshold is."""
        return Codebook(values=(-1.0, 0.0, 1.0))

    def special_values(self) -> dict[str, str]:
        return {"zero": "exact", "overflow": "clamped", "infinity": "spoils the range", "NaN": "spoils the range"}

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        if noise is not None:
            codes = noise.add_to(torch.div(x, qparams.scale, out=out)).round_().clamp_(-1, 1)
            return codes.add_(1)
        threshold = qparams.zero_point
        codes = torch.where(x.abs() > threshold, x.sign(), x * 0)  # 0, or the NaN that x may be
        return codes.add_(1) if out is None else torch.add(codes, 1, out=out)

    def native_levels(self, qparams: QParams) -> Optional[LevelTable]:
        threshold = qparams.zero_point.reshape(-1, 1)
        if not bool(threshold.isfinite().all()):
            return None
        below = torch.nextafter(-threshold, torch.full_like(threshold, -torch.inf))  # -threshold itself becomes 0
        return LevelTable(torch.cat([below, threshold], 1), threshold.new_tensor([[-1.0, 0.0, 1.0]]), of_ratio=False)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.sub(codes, 1, out=out).mul_(qparams.scale)
