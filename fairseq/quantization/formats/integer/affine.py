"""Unsigned integers with an integer zero point, so that real 0 is exactly the code `zero_point`.

    low, high widened to include 0,   scale = (high - low) / (2^b - 1),   zero_point = round(-low / scale)
    code = clamp(round(x / scale) + zero_point, 0, 2^b - 1),   value = (code - zero_point) * scale

The arithmetic is that of `torch.fake_quantize_per_tensor_affine`: x is multiplied by the reciprocal of the scale.
Values at the ends of the range lie up to half a step outside the levels and are clamped; that is no further than
rounding moves any value, but it biases stochastic rounding there. For gradients prefer `symmetric`.

`affine_int` is the same; before version 2 of plans, `affine` was what is `affine_float_zp` now (`versions.py`).

>>> import torch
>>> format = Affine()
>>> format.fake_quantize(torch.tensor([-0.1, 0.0, 3.0]), format.qparams(torch.tensor(-0.1), torch.tensor(3.0), 4))
tensor([0.0000, 0.0000, 3.1000])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Noise, QParams
from fairseq.quantization.formats.integer.uniform import MIN_SCALE, IntegerFormat, rounded_multiple


@FORMATS.register("affine", "affine_int")
class Affine(IntegerFormat):
    """Levels `(code - zero_point) * scale` with an integer zero point."""

    name = "affine"
    has_exact_zero = True
    covers_ends = False  # widening to 0 and rounding the zero point may move either end by half a step
    kernel_id = 0
    zero_point_bits = 32

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        low, high = low.clamp(max=0), high.clamp(min=0)
        levels = self.max_value(num_bits)
        scale = (high / levels - low / levels).clamp(min=MIN_SCALE)  # high - low may overflow
        return QParams(scale, (-low / scale).round_().clamp_(0, levels), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 2**num_bits - 1

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        codes = rounded_multiple(x, qparams.scale, noise, out).add_(qparams.zero_point)
        if clamp or noise is not None:
            codes.clamp_(qparams.quant_min, qparams.quant_max)
        return codes

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.sub(codes, qparams.zero_point, out=out).mul_(qparams.scale)
