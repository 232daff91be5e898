"""Signed integers around an exact zero; there are as many levels below zero as above.

    scale = max(|low|, |high|) / q,   code = clamp(round(x / scale), -q, q),   value = code * scale,   q = 2^(b-1) - 1

Products of such codes need no zero-point corrections, and int8 never meets -128.

>>> import torch
>>> format = Symmetric()
>>> format.fake_quantize(torch.tensor([-3.0, 0.0, 1.4]), format.qparams(torch.tensor(-3.0), torch.tensor(1.4), 3))
tensor([-3.,  0.,  1.])
"""

from typing import ClassVar, Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Noise, QParams
from fairseq.quantization.formats.integer.uniform import MIN_SCALE, IntegerFormat, rounded_multiple


@FORMATS.register("symmetric")
class Symmetric(IntegerFormat):
    """Levels `code * scale`, code in [-q, q]. The zero point is 0."""

    name = "symmetric"
    has_exact_zero = True
    covers_ends = True
    is_symmetric = True
    kernel_id: ClassVar[Optional[int]] = 1

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        scale = (torch.maximum(-low, high) / self.max_value(num_bits)).clamp(min=MIN_SCALE)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        largest = 2 ** (num_bits - 1) - 1
        return -largest, largest

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        codes = rounded_multiple(x, qparams.scale, noise, out)
        if clamp or noise is not None:
            codes.clamp_(qparams.quant_min, qparams.quant_max)
        return codes

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, qparams.scale, out=out)
