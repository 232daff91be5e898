"""Signed integers around an exact zero, with the one more below zero that two's complement has.

    scale = max(-low / 2^(b-1), high / (2^(b-1) - 1)),   code = clamp(round(x / scale), -2^(b-1), 2^(b-1) - 1)

LSQ (arXiv:1902.08153) has these codes for weights, and so have ParetoQ and HQ+LSS.

>>> format = Signed()
>>> format.fake_quantize(torch.tensor([-4.6, 0.0, 1.4]), format.qparams(torch.tensor(-3.0), torch.tensor(3.0), 3))
tensor([-4.,  0.,  1.])
"""

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, QParams
from fairseq.quantization.formats.integer.symmetric import Symmetric
from fairseq.quantization.formats.integer.uniform import MIN_SCALE


@FORMATS.register("signed")
class Signed(Symmetric):
    """Levels `code * scale`, code in [-2^(b-1), 2^(b-1) - 1]."""

    name = "signed"
    is_symmetric = False
    kernel_id = None

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        least, most = self.code_range(num_bits)
        scale = torch.maximum(low / least, high / most).clamp(min=MIN_SCALE)
        return QParams(scale, torch.zeros_like(scale), least, most)

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
