"""What formats with a list of levels share: the level nearest to x / scale, found by its place between midpoints.

    code = index of the level nearest to x / scale,   value = level[code] * scale

Of two levels that are equally near, the one nearer zero is taken, and of two that are equally near zero the positive
one. The comparison is exact in the type of x / scale: a midpoint that this type does not hold is rounded to a side on
which no number changes place. Values beyond the outermost levels take those. An infinity in the tensor gives an
infinite scale, and so no finite value; a NaN stays one, whatever the scale.

>>> from fairseq.quantization.formats import build_format
>>> x = torch.tensor([-5.0, 0.1, 0.5, 0.75, 0.76, float("nan")])
>>> number_format = build_format("log")
>>> number_format.fake_quantize(x, number_format.qparams(torch.tensor(-1.0), torch.tensor(1.0), num_bits=3))
tensor([-1.0000,  0.0000,  0.5000,  0.5000,  1.0000,     nan])
"""

import itertools
import math
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.cached import cached_constant
from fairseq.quantization.formats.base import LevelTable, Noise, NumberFormat, QParams

PIECE = 2**17  # elements that stay in cache between two operations
# the smallest scale whose reciprocal is finite
MIN_SCALE = torch.finfo(torch.float32).tiny


class CodebookFormat(NumberFormat):
    """Levels of `levels`, times a scale. Codes count them from 0; a NaN has the code behind the last one.

    The scale brings the largest level to the largest magnitude of the range, unless the format says otherwise.
    """

    is_uniform = False
    has_exact_zero = True
    covers_ends = False
    is_symmetric = True
    compiles = False  # the list depends on the bits
    ties = "inward"
    max_bits = 8

    def levels(self, num_bits: int) -> Sequence[float]:
        """The levels, ascending; the largest magnitude is 1 unless the format says otherwise."""
        raise NotImplementedError

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        scale = torch.maximum(-low, high).clamp(min=MIN_SCALE)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, len(self.levels(num_bits)) - 1

    def max_value(self, num_bits: int) -> float:
        return self.levels(num_bits)[-1]

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        codes = self._indices(x, qparams, noise)
        return codes.to(x.dtype) if out is None else out.copy_(codes)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return self._looked_up(codes.to(torch.int32), qparams, codes.dtype, out)

    def fake_quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        return self._looked_up(self._indices(x, qparams, noise), qparams, x.dtype, out)

    def native_levels(self, qparams: QParams) -> LevelTable:
        return _table(self._listed(qparams))

    def with_scale(self) -> NumberFormat:
        return self

    def special_values(self) -> dict[str, str]:
        zero = "exact" if self.has_exact_zero else "not a level"
        return {"zero": zero, "overflow": "clamped", "infinity": "spoils the range", "NaN": "NaN"}

    def _indices(self, x: Tensor, qparams: QParams, noise: Optional[Noise]) -> Tensor:
        levels = self._listed(qparams)
        ratio = (x / qparams.scale).contiguous()
        if noise is None:
            return torch.bucketize(ratio, _tensor(_thresholds(levels, x.dtype), x), out_int32=True)
        points = _tensor(levels, x)
        below = torch.bucketize(ratio, points, out_int32=True, right=True).sub_(1).clamp_(0, max(len(levels) - 2, 0))
        start, end = points[below], points[(below + 1).clamp_(max=len(levels) - 1)]
        place = ratio.sub_(start).div_(end.sub_(start)).clamp_(0, 1)
        noise.add_to(place)
        steps = place.round_().clamp_(0, 1).nan_to_num_(nan=len(levels))
        return below.add_(steps.to(torch.int32)).clamp_(max=len(levels))

    def _looked_up(self, indices: Tensor, qparams: QParams, dtype: torch.dtype, out: Optional[Tensor]) -> Tensor:
        levels = torch.tensor([*self._listed(qparams), math.nan], dtype=dtype, device=indices.device)
        return torch.mul(levels[indices], qparams.scale, out=out)

    def _listed(self, qparams: QParams) -> tuple[float, ...]:
        """The levels in force."""
        return _listed(self, int(qparams.quant_max).bit_length())


@cached_constant(maxsize=256)
def _listed(number_format: CodebookFormat, num_bits: int) -> tuple[float, ...]:
    """The levels as fp32 has them."""
    return tuple(torch.tensor(number_format.levels(num_bits), dtype=torch.float32).tolist())


@cached_constant(maxsize=256)
def _thresholds(levels: tuple[float, ...], dtype: torch.dtype) -> tuple[float, ...]:
    """The largest number of `dtype` that goes to each level; that of the last is infinity."""
    found = []
    for low, high in itertools.pairwise(levels):
        middle = (low + high) / 2
        takes_low = abs(low) < abs(high)
        rounded = torch.tensor(middle, dtype=torch.float64).to(dtype)
        if rounded.item() > middle or (rounded.item() == middle and not takes_low):
            rounded = torch.nextafter(rounded, torch.tensor(-math.inf, dtype=dtype))
        found.append(rounded.item())
    return (*found, math.inf)


@cached_constant(maxsize=64)
def _table(levels: tuple[float, ...]) -> LevelTable:
    thresholds = torch.tensor([_thresholds(levels, torch.float32)[:-1]], dtype=torch.float32)
    return LevelTable(thresholds, torch.tensor([levels], dtype=torch.float32))


def _tensor(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)


def mean_of(size: Tensor, axes: tuple[int, ...], only: Optional[Tensor] = None) -> Tensor:
    """The mean over `axes`, which stay with size 1; of the values in the mask `only`, 0 where it has none.

    Magnitudes outside the mask are overwritten with 0.
    """
    if only is None:
        return size.mean(axes, keepdim=True) if axes else size
    if not axes:
        return size * only
    size, count = _kept_and_counted(size, axes, only)
    return size.sum(axes, keepdim=True) / count.clamp_(min=1)


def _kept_and_counted(size: Tensor, axes: tuple[int, ...], only: Tensor) -> tuple[Tensor, Tensor]:
    """`size` with 0 outside the mask, in its memory; and how many the mask has over `axes`, which stay with size 1.

    Both want numbers of the other's type, of which torch makes copies; in pieces those stay in the cache. Whole numbers
    of 32 bits are counted ten times as fast as those of 64.
    """
    is_whole, is_rows = len(axes) == only.dim(), only.dim() > 1 and 0 not in axes
    in_order = size.is_contiguous() and only.is_contiguous() and size.device.type == "cpu"
    if not in_order or not PIECE < size.numel() < 2**31 or torch.compiler.is_compiling():
        return size.mul_(only), only.sum(axes, keepdim=True)
    for part, kept in zip(size.view(-1).split(PIECE), only.view(-1).split(PIECE), strict=True):
        part.mul_(kept)
    if is_whole:
        counts = [part.sum(dtype=torch.int32) for part in only.view(-1).split(PIECE)]
        return size, torch.stack(counts).sum(dtype=torch.int32).view([1] * only.dim())
    if is_rows:
        rows = max(PIECE * only.shape[0] // only.numel(), 1)
        return size, torch.cat([part.sum(axes, keepdim=True, dtype=torch.int32) for part in only.split(rows)])
    return size, only.sum(axes, keepdim=True, dtype=torch.int32)
