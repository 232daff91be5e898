"""Logarithmic levels: zero and signed powers of two, or of the root of two.

    levels      0 and +-2^(-k / steps_per_octave),   k = 0, ..., 2^(b-1) - 2
    scale       a power of two, such that the largest level is the power nearest to the largest magnitude

so that with one step per octave every value is an exact power of two, and a product with it a shift. The nearest level
is meant linearly: between 2^k and 2^(k+1) the border is 1.5 * 2^k, and at half of the smallest level begins 0.
(Rounding the logarithm puts the border at sqrt(2) * 2^k, and has a larger error.)

Logarithmic data representation: Miyashita et al., arXiv:1603.01025; base sqrt(2): section 3 there.

>>> number_format = Log()
>>> x = torch.tensor([1.0, 0.3, -0.02, 0.0])
>>> number_format.fake_quantize(x, number_format.qparams(x.min(), x.max(), num_bits=4))
tensor([ 1.0000,  0.2500, -0.0156,  0.0000])
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, QParams
from fairseq.quantization.formats.codebook.levels import MIN_SCALE, CodebookFormat
from fairseq.quantization.formats.fields import whole


@FORMATS.register("log")
class Log(CodebookFormat):
    """Signed powers of two and 0.

    Args:
        steps_per_octave: levels between a number and its double; 1: powers of two, 2: powers of the root of two.
    """

    name = "log"

    def __init__(self, *, steps_per_octave: int = 1):
        self.steps_per_octave = whole(steps_per_octave, "steps_per_octave", self.name, 1, 64)

    def levels(self, num_bits: int) -> Sequence[float]:
        sizes = [2.0 ** (-k / self.steps_per_octave) for k in range(2 ** (num_bits - 1) - 1)]
        return [*(-size for size in sizes), 0.0, *reversed(sizes)]

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        most = torch.maximum(-low, high).clamp(min=MIN_SCALE)
        mantissa, exponent = torch.frexp(most)  # most = mantissa * 2^exponent, mantissa in [1/2, 1)
        rounded = torch.ldexp(torch.ones_like(most), exponent - (mantissa <= 0.75).to(torch.int32))
        largest = 2.0**127  # the largest power of two
        scale = torch.where(most.isfinite(), rounded.clamp(MIN_SCALE, largest), most)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))
