"""Unsigned integers between the two ends of the range: code 0 is `low` itself (CPT's format, arXiv:2101.09868).

    scale = max((high - low) / (2^b - 1), 1e-8)
    code  = round(clamp((x - low) / scale, 0, 2^b - 1)),    value = code * scale + low

Both ends of the range are levels; real 0 in general is not (see `affine_int`).

>>> import torch
>>> format = Affine()
>>> x = torch.tensor([1.0, 1.2, 4.0])
>>> format.fake_quantize(x, format.grid(x.min(), x.max(), num_bits=2))
tensor([1., 1., 4.])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Grid, Noise, NumberFormat

MIN_SCALE = 1e-8  # the reference's floor: a constant tensor maps to itself


@FORMATS.register("affine")
class Affine(NumberFormat):
    """Levels `zero_point + code * scale` with a real zero point."""

    name = "affine"
    exact_zero = False
    covers_ends = True
    numbers_per_scale = 2

    def grid(self, low: Tensor, high: Tensor, num_bits: int) -> Grid:
        scale = ((high - low) / self.max_value(num_bits)).clamp(min=MIN_SCALE)
        return Grid(scale, low, *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 2**num_bits - 1

    def quantize(
        self, x: Tensor, grid: Grid, noise: Optional[Noise] = None, out: Optional[Tensor] = None, clamp: bool = True
    ) -> Tensor:
        codes = torch.sub(x, grid.zero_point, out=out).div_(grid.scale)
        if noise is not None:
            noise.add_to(codes)
        if clamp or noise is not None:
            codes.clamp_(grid.low, grid.high)
        return codes.round_()

    def dequantize(self, codes: Tensor, grid: Grid, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, grid.scale, out=out).add_(grid.zero_point)
