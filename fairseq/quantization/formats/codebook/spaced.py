"""Evenly spaced levels around zero, of which `midrise` and `stretched` differ in where the outermost ones lie.

    midrise       n = 2^b levels  (2 i + 1 - n) / (n - 1)      the outermost ones are -1 and 1; none is zero
    stretched     n = 2^b levels  (2 i + 1 - n) / n            n intervals of equal width fill [-1, 1]
    stretched, zero: true         the same with n = 2^b - 1    0 and +-2/3 at 2 bits

times a scale, which brings the outermost level to the end of a range where there is one.

QuEST (arXiv:2502.05003) rounds to the first, ParetoQ (arXiv:2502.02631, SEQ) to the others: levels
+-1/4, +-3/4 at 2 bits, and three of them for ternary weights.

>>> from fairseq.quantization.formats import build_format
>>> build_format("midrise").values(2).tolist(), build_format("stretched").values(2).tolist()
([-1.0, -0.3333333432674408, 0.3333333432674408, 1.0], [-0.75, -0.25, 0.25, 0.75])
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, QParams
from fairseq.quantization.formats.codebook.levels import MIN_SCALE, CodebookFormat
from fairseq.quantization.formats.fields import flag


@FORMATS.register("midrise")
class MidRise(CodebookFormat):
    """2^b levels from -a to a."""

    name = "midrise"
    has_exact_zero = False
    covers_ends = True
    min_bits = 1

    def levels(self, num_bits: int) -> Sequence[float]:
        count = 2**num_bits
        return [(2 * i + 1 - count) / (count - 1) for i in range(count)]


@FORMATS.register("stretched")
class Stretched(CodebookFormat):
    """Levels in the middle of intervals of equal width.

    Args:
        zero: one level less, so that 0 is one of them.
    """

    name = "stretched"

    def __init__(self, *, zero: bool = False):
        self.zero = flag(zero, "zero", self.name)
        self.has_exact_zero = self.zero

    def levels(self, num_bits: int) -> Sequence[float]:
        count = 2**num_bits - self.zero
        return [(2 * i + 1 - count) / count for i in range(count)]

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        scale = (torch.maximum(-low, high) / self.max_value(num_bits)).clamp(min=MIN_SCALE)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))
