"""Unsigned integers between the two ends of the range: code 0 is `low` itself (CPT's format, arXiv:2101.09868).

    scale = max((high - low) / (2^b - 1), 1e-8)
    code  = round(clamp((x - low) / scale, 0, 2^b - 1)),    value = code * scale + low

Both ends of the range are levels; real 0 in general is not (see `affine`).

>>> import torch
>>> format = AffineFloatZeroPoint()
>>> x = torch.tensor([1.0, 1.2, 4.0])
>>> format.fake_quantize(x, format.qparams(x.min(), x.max(), num_bits=2))
tensor([1., 1., 4.])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Noise, QParams
from fairseq.quantization.formats.integer.uniform import IntegerFormat

MIN_SCALE = 1e-8  # the reference's floor: a constant tensor maps to itself


@FORMATS.register("affine_float_zp")
class AffineFloatZeroPoint(IntegerFormat):
    """Levels `zero_point + code * scale` with a real zero point."""

    name = "affine_float_zp"
    has_exact_zero = False
    covers_ends = True
    kernel_id = 2
    zero_point_bits = 32

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        scale = ((high - low) / self.max_value(num_bits)).clamp(min=MIN_SCALE)
        return QParams(scale, low, *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return 0, 2**num_bits - 1

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        codes = torch.sub(x, qparams.zero_point, out=out).div_(qparams.scale)
        if noise is not None:
            noise.add_to(codes)
        if clamp or noise is not None:
            codes.clamp_(qparams.quant_min, qparams.quant_max)
        return codes.round_()

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, qparams.scale, out=out).add_(qparams.zero_point)
