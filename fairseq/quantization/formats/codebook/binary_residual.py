"""Two binary numbers for one value: a sign with its scale, and one for what the first leaves over.

    value = a1 sign(x) + a2 sign(|x| - a1) sign(x),   a1 = mean |x|,   a2 = mean | |x| - a1 |

so products are two binary ones. a2 is at most a1; the levels are -(a1 + a2), -(a1 - a2), a1 - a2 and a1 + a2, and each
value goes to the nearest. A magnitude of a1 goes to the level nearer zero; 0 goes to a1 - a2.

Residual binarization: Guo et al., arXiv:1707.04693, section 3.2.

>>> number_format = BinaryResidual()
>>> x = torch.tensor([4.0, -1.0, 0.5, -0.5, 0.0, 0.0])                      # a1 = 1, a2 = 1
>>> number_format.fake_quantize(x, number_format.qparams(*number_format.statistic(x, axes=(0,)), num_bits=2))
tensor([2., -0., 0., -0., 0., 0.])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, LevelTable, Noise, NumberFormat, QParams
from fairseq.quantization.formats.codebook.levels import MIN_SCALE, mean_of


@FORMATS.register("binary_residual")
class BinaryResidual(NumberFormat):
    """Four levels of two scales. `scale` of its parameters is a1, `zero_point` is a2 / a1."""

    name = "binary_residual"
    is_uniform = False
    has_exact_zero = False
    covers_ends = False
    is_symmetric = True
    fixed_bits = min_bits = max_bits = 2
    zero_point_bits = 32
    needs_statistic = True
    ties = "inward"

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """a2 and a1."""
        size = x.abs()
        first = mean_of(size, axes)
        left_over = (size - first if not axes else size.sub_(first)).abs_()
        return torch.minimum(mean_of(left_over, axes), first), first

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        first = torch.maximum(-low, high)
        # of a range, the largest magnitude is the outermost level
        second, first = torch.where(low < 0, first / 3, low), torch.where(low < 0, first * 2 / 3, first)
        first = first.clamp(min=MIN_SCALE)
        return QParams(first, (second / first).clamp_(0, 1), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 3

    def max_value(self, num_bits: int) -> float:
        """That of `values`."""
        return 1.5

    def values(self, num_bits: int) -> Tensor:
        """The levels where a2 = a1 / 2, in units of a1."""
        one = torch.ones((), dtype=torch.float64)
        return self.dequantize(torch.arange(4, dtype=torch.float64), QParams(one, one / 2, *self.code_range(num_bits)))

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        ratio, share = x / qparams.scale, qparams.zero_point
        size = ratio.abs()
        if noise is None:
            codes = _code(ratio >= 0, size > 1, x.dtype)
        else:
            inner = 1 - share
            is_inner = size <= inner
            # the place between the two levels around x, in units of their distance
            start = torch.where(is_inner, -inner, inner)
            distance = torch.where(is_inner, 2 * inner, 2 * share).clamp_(min=MIN_SCALE)
            place = torch.where(is_inner, ratio, size).sub_(start).div_(distance).clamp_(0, 1)
            up = noise.add_to(place) > 0.5
            codes = torch.where(is_inner, 1 + up.to(x.dtype), _code(ratio >= 0, up, x.dtype))
        codes = torch.where(ratio.isnan(), ratio, codes)
        return codes if out is None else out.copy_(codes)

    def native_levels(self, qparams: QParams) -> LevelTable:
        share = qparams.zero_point.reshape(-1, 1)
        levels = self.dequantize(torch.arange(4.0), QParams(torch.ones_like(share), share, *self.code_range(2)))
        before = torch.nextafter(
            torch.tensor([[-1.0, 0.0]]), torch.tensor(-torch.inf)
        )  # -1 and 0 go to the level above
        return LevelTable(torch.cat([before, torch.ones(1, 1)], 1), levels)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        place = codes - 1.5
        size = torch.where(place.abs() > 1, 1 + qparams.zero_point, 1 - qparams.zero_point)
        value = torch.where(place < 0, -size, size)
        return torch.mul(torch.where(place.isnan(), place, value), qparams.scale, out=out)


def _code(is_positive: Tensor, is_outer: Tensor, dtype: torch.dtype) -> Tensor:
    outer = is_outer.to(dtype)
    return torch.where(is_positive, 2 + outer, 1 - outer)
