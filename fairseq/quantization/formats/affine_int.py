"""Unsigned integers with an integer zero point, so that real 0 is exactly the code `zero_point`.

    low, high widened to include 0,   scale = (high - low) / (2^b - 1),   zero_point = round(-low / scale)
    code = clamp(round(x / scale) + zero_point, 0, 2^b - 1),   value = (code - zero_point) * scale

The arithmetic is that of `torch.fake_quantize_per_tensor_affine`: x is multiplied by the reciprocal of the scale.
Values at the ends of the range lie up to half a step outside the grid and are clamped; that is no further than rounding
moves any value, but it biases stochastic rounding there. For gradients prefer `symmetric`.

>>> import torch
>>> format = AffineInt()
>>> format.fake_quantize(torch.tensor([-0.1, 0.0, 3.0]), format.grid(torch.tensor(-0.1), torch.tensor(3.0), 4))
tensor([0.0000, 0.0000, 3.1000])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Grid, Noise, NumberFormat, rounded_multiple

# the smallest scale whose reciprocal is finite; far below any gradient, unlike an absolute 1e-8
MIN_SCALE = torch.finfo(torch.float32).tiny


@FORMATS.register("affine_int")
class AffineInt(NumberFormat):
    """Levels `(code - zero_point) * scale` with an integer zero point."""

    name = "affine_int"
    exact_zero = True
    covers_ends = False  # widening to 0 and rounding the zero point may move either end by half a step
    numbers_per_scale = 2

    def grid(self, low: Tensor, high: Tensor, num_bits: int) -> Grid:
        low, high = low.clamp(max=0), high.clamp(min=0)
        levels = self.max_value(num_bits)
        scale = (high / levels - low / levels).clamp(min=MIN_SCALE)  # high - low may overflow
        return Grid(scale, (-low / scale).round_().clamp_(0, levels), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 2**num_bits - 1

    def quantize(
        self, x: Tensor, grid: Grid, noise: Optional[Noise] = None, out: Optional[Tensor] = None, clamp: bool = True
    ) -> Tensor:
        codes = rounded_multiple(x, grid.scale, noise, out).add_(grid.zero_point)
        if clamp or noise is not None:
            codes.clamp_(grid.low, grid.high)
        return codes

    def dequantize(self, codes: Tensor, grid: Grid, out: Optional[Tensor] = None) -> Tensor:
        return torch.sub(codes, grid.zero_point, out=out).mul_(grid.scale)
