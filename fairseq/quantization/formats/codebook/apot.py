"""Additive powers of two: each magnitude is a sum of a few powers of two, and so are products a few shifts and adds.

    levels = +-gamma * (p_0 + ... + p_(n-1)),   p_i in {0, 2^-i, 2^-(i+n), ..., 2^-(i+(2^k-2)n)}

with the b - 1 bits of the magnitude cut into n terms of k bits, the last of which has what bits are left; gamma makes
the largest level 1. Levels lie close to each other near 0 and, unlike powers of two, also near the ends.

Li, Dong and Wang, arXiv:1909.13144, equation 5, which has it for b - 1 = n k.

>>> [1.5 * level for level in Apot().levels(4)[8:]]    # the positive ones, of terms {0, 1, 1/4, 1/16} and {0, 1/2}
[0.0625, 0.25, 0.5, 0.5625, 0.75, 1.0, 1.5]
"""

import itertools
from collections.abc import Sequence

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.codebook.levels import CodebookFormat
from fairseq.quantization.formats.fields import whole


@FORMATS.register("apot")
class Apot(CodebookFormat):
    """Sums of powers of two. The range's larger magnitude is the largest level.

    Args:
        bits_per_term: k, 1 to 3; more bits make fewer terms. (Of 4 bits, sums are no longer distinct in fp32.)
    """

    name = "apot"
    covers_ends = True

    def __init__(self, *, bits_per_term: int = 2):
        self.bits_per_term = whole(bits_per_term, "bits_per_term", self.name, 1, 3)

    def levels(self, num_bits: int) -> Sequence[float]:
        bits, k = num_bits - 1, self.bits_per_term
        count = -(-bits // k)
        widths = [min(k, bits - i * k) for i in range(count)]
        terms = [[0.0, *(2.0 ** -(i + step * count) for step in range(2**width - 1))] for i, width in enumerate(widths)]
        sizes = sorted(sum(chosen) for chosen in itertools.product(*terms))
        most = sizes[-1]
        return [*(-size / most for size in reversed(sizes[1:])), *(size / most for size in sizes)]
