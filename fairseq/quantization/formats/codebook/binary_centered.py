"""Binary weights around their mean: a sign and a scale, of which the sign is balanced.

    value = a sign(x - mean x),   a = mean |x|,   sign(0) = +1

Both means are taken over the values that share a scale. BiT, Liu et al., arXiv:2205.13016, equation 4 (its weights).
As a range this is from mean x - a to mean x + a. Codes are 0 and 1.
Rounding is to nearest only, since a threshold beside zero leaves nothing to round to at random.

>>> number_format = BinaryCentered()
>>> x = torch.tensor([[4.0, -1.0, 1.0, 0.0]])                                # mean 1, mean |x| 1.5
>>> number_format.fake_quantize(x, number_format.qparams(*number_format.statistic(x, axes=(1,)), num_bits=1))
tensor([[ 1.5000, -1.5000,  1.5000, -1.5000]])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, LevelTable, Noise, NumberFormat, QParams
from fairseq.quantization.formats.codebook.levels import MIN_SCALE, mean_of


@FORMATS.register("binary_centered")
class BinaryCentered(NumberFormat):
    """Two levels and a threshold, which `zero_point` of its parameters is."""

    name = "binary_centered"
    is_uniform = False
    has_exact_zero = False
    covers_ends = False
    takes_noise = False
    holds_gradients = False
    fixed_bits = min_bits = max_bits = 1
    compiles = False
    ties = "inward"

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Threshold less level, and threshold plus level."""
        mean, level = (x.mean(axes, keepdim=True) if axes else x), mean_of(x.abs(), axes)
        return mean - level, mean + level

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        return QParams(((high - low) / 2).clamp(min=MIN_SCALE), (low + high) / 2, *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 1

    def max_value(self, num_bits: int) -> float:
        return 1.0

    def with_scale(self) -> NumberFormat:
        """Where the scale is given, the threshold is 0."""
        return self

    def special_values(self) -> dict[str, str]:
        return {"zero": "not a level", "overflow": "clamped", "infinity": "spoils the range", "NaN": "spoils the range"}

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        above = (x >= qparams.zero_point).to(x.dtype)
        codes = torch.where(x.isnan(), x, above)
        return codes if out is None else out.copy_(codes)

    def native_levels(self, qparams: QParams) -> Optional[LevelTable]:
        threshold = qparams.zero_point.reshape(-1, 1)
        if not bool(threshold.isfinite().all()):
            return None
        below = torch.nextafter(threshold, torch.full_like(threshold, -torch.inf))  # the threshold itself goes up
        return LevelTable(below, threshold.new_tensor([[-1.0, 1.0]]), of_ratio=False)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, 2, out=out).sub_(1).mul_(qparams.scale)
