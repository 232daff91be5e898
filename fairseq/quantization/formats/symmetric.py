"""Signed integers around an exact zero; the grid has as many levels below zero as above.

    scale = max(|low|, |high|) / q,   code = clamp(round(x / scale), -q, q),   value = code * scale,   q = 2^(b-1) - 1

Products of such codes need no zero-point corrections, and int8 never meets -128.

>>> import torch
>>> format = Symmetric()
>>> format.fake_quantize(torch.tensor([-3.0, 0.0, 1.4]), format.grid(torch.tensor(-3.0), torch.tensor(1.4), 3))
tensor([-3.,  0.,  1.])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.affine_int import MIN_SCALE
from fairseq.quantization.formats.base import FORMATS, Grid, Noise, NumberFormat, rounded_multiple


@FORMATS.register("symmetric")
class Symmetric(NumberFormat):
    """Levels `code * scale`, code in [-q, q]. The grid's zero point is 0."""

    name = "symmetric"
    exact_zero = True
    covers_ends = True

    def grid(self, low: Tensor, high: Tensor, num_bits: int) -> Grid:
        scale = (torch.maximum(-low, high) / self.max_value(num_bits)).clamp(min=MIN_SCALE)
        return Grid(scale, torch.zeros_like(scale), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        largest = 2 ** (num_bits - 1) - 1
        return -largest, largest

    def quantize(
        self, x: Tensor, grid: Grid, noise: Optional[Noise] = None, out: Optional[Tensor] = None, clamp: bool = True
    ) -> Tensor:
        codes = rounded_multiple(x, grid.scale, noise, out)
        if clamp or noise is not None:
            codes.clamp_(grid.low, grid.high)
        return codes

    def dequantize(self, codes: Tensor, grid: Grid, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, grid.scale, out=out)
