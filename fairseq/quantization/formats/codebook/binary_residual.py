"""Binary numbers for one value: a sign with its scale, and one for what the signs before it leave over, two to four.

    value = a1 s1 + a2 s2 + ...,   a1 = mean |x|,   s1 = sign(x),   a2 = mean | |x| - a1 |,   s2 the sign of the rest

so products are as many binary ones. No scale is larger than the one before. Each value goes to the nearest of the 2^n
sums, of two that are equally near to the one nearer zero, and of two that are equally near zero to the positive one.
With two terms the levels are -(a1 + a2), -(a1 - a2), a1 - a2 and a1 + a2.

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
from fairseq.quantization.formats.fields import whole


@FORMATS.register("binary_residual")
class BinaryResidual(NumberFormat):
    """2^n levels of n scales. `scale` of its parameters is a1, `zero_point` is a2 / a1; of more terms, along a first
    axis, a2 / a1, a3 / a1, ...

    Args:
        terms: n, 2 to 4.
    """

    name = "binary_residual"
    is_uniform = False
    has_exact_zero = False
    covers_ends = False
    is_symmetric = True
    needs_statistic = True
    ties = "inward"

    def __init__(self, *, terms: int = 2):
        self.terms = whole(terms, "terms", self.name, 2, 4)
        self.fixed_bits = self.min_bits = self.max_bits = terms
        self.compiles = terms == 2
        self.zero_points_per_range = terms - 1
        self.zero_point_bits = 32 * (terms - 1)

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """a2, or those behind a1 along a first axis, and a1."""
        left = x.abs()
        scales = [mean_of(left, axes)]
        for _ in range(1, self.terms):
            left = (left - scales[-1] if not axes else left.sub_(scales[-1])).abs_()
            scales.append(torch.minimum(mean_of(left, axes), scales[-1]))
        return scales[1] if self.terms == 2 else torch.stack(scales[1:]), scales[0]

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        if self.terms > 2:
            return self._qparams_of_many(low, high, num_bits)
        first = torch.maximum(-low, high)
        # of a range, the largest magnitude is the outermost level
        second, first = torch.where(low < 0, first / 3, low), torch.where(low < 0, first * 2 / 3, first)
        first = first.clamp(min=MIN_SCALE)
        return QParams(first, (second / first).clamp_(0, 1), *self.code_range(num_bits))

    def _qparams_of_many(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        if low.dim() == high.dim():  # a range: each scale is half of the one before
            first = torch.maximum(-low, high) * (2 ** (self.terms - 1) / (2**self.terms - 1))
            shares = torch.stack([torch.full_like(first, 2.0**-index) for index in range(1, self.terms)])
            return QParams(first.clamp(min=MIN_SCALE), shares, *self.code_range(num_bits))
        first = high.clamp(min=MIN_SCALE)
        return QParams(first, (low / first).clamp_(0, 1), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 2**self.terms - 1

    def max_value(self, num_bits: int) -> float:
        """That of `values`."""
        return 2 - 2.0 ** (1 - self.terms)

    def values(self, num_bits: int) -> Tensor:
        """The levels where each scale is half of the one before, in units of a1."""
        codes = torch.arange(2**self.terms, dtype=torch.float64)
        return (codes - (2**self.terms - 1) / 2) / 2 ** (self.terms - 2)

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        ratio, share = x / qparams.scale, qparams.zero_point
        if self.terms > 2:
            codes = _nearest(ratio, _levels(share), noise)
            return codes if out is None else out.copy_(codes)
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

    def native_levels(self, qparams: QParams) -> Optional[LevelTable]:
        if self.terms > 2:
            return None
        share = qparams.zero_point.reshape(-1, 1)
        levels = self.dequantize(torch.arange(4.0), QParams(torch.ones_like(share), share, *self.code_range(2)))
        before = torch.nextafter(
            torch.tensor([[-1.0, 0.0]]), torch.tensor(-torch.inf)
        )  # -1 and 0 go to the level above
        return LevelTable(torch.cat([before, torch.ones(1, 1)], 1), levels)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        if self.terms > 2:
            return torch.mul(_looked_up(codes, _levels(qparams.zero_point)), qparams.scale, out=out)
        place = codes - 1.5
        size = torch.where(place.abs() > 1, 1 + qparams.zero_point, 1 - qparams.zero_point)
        value = torch.where(place < 0, -size, size)
        return torch.mul(torch.where(place.isnan(), place, value), qparams.scale, out=out)


def _code(is_positive: Tensor, is_outer: Tensor, dtype: torch.dtype) -> Tensor:
    outer = is_outer.to(dtype)
    return torch.where(is_positive, 2 + outer, 1 - outer)


# --- more than two terms ----------------------------------------------------------------------------------------------


def _levels(shares: Tensor) -> Tensor:
    """The sums, ascending along a first axis, in units of a1."""
    levels = torch.stack([-torch.ones_like(shares[0]), torch.ones_like(shares[0])])
    for share in shares:
        levels = torch.cat([levels - share, levels + share])
    return levels.sort(0).values


def _nearest(ratio: Tensor, levels: Tensor, noise: Optional[Noise]) -> Tensor:
    """The codes of `ratio`; one pass for each level, as levels differ from range to range."""
    codes = torch.zeros_like(ratio)
    if noise is None:
        middles = (levels[1:] + levels[:-1]) / 2
        for index, middle in enumerate(middles):  # at a middle the level nearer zero, at 0 the positive one
            codes += ratio >= middle if index <= len(middles) // 2 else ratio > middle
    else:
        start, end = (level.expand_as(ratio) for level in levels[:2])
        for index in range(1, len(levels) - 1):
            beyond = ratio >= levels[index]
            start, end = torch.where(beyond, levels[index], start), torch.where(beyond, levels[index + 1], end)
            codes += beyond
        place = (ratio - start).div_((end - start).clamp(min=MIN_SCALE)).clamp_(0, 1)
        codes += noise.add_to(place) > 0.5
    return torch.where(ratio.isnan(), ratio, codes)


def _looked_up(codes: Tensor, levels: Tensor) -> Tensor:
    values = torch.where(codes.isnan(), codes, levels[0])
    for index in range(1, len(levels)):
        values = torch.where(codes == index, levels[index], values)
    return values
