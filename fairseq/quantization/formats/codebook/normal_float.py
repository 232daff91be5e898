"""NF4: sixteen levels for normally distributed values, each standing for about the same share of them.

The scale is the largest magnitude; in the published use 64 neighbours share one (granularity `group:64`). There is one
level more above zero than below, and 0, 1 and -1 are levels.

    positive levels    quantiles of the normal distribution at 8 equally spaced probabilities from 1/2 up
    negative levels    at 7, mirrored;   both from 1/2 to (1 - 1/32 + 1 - 1/30) / 2, over the outermost one

Dettmers et al., arXiv:2305.14314, section 3 and appendix E, whose list it is.

>>> [round(level, 4) for level in NormalFloat4().levels(4)[7:]]
[0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.723, 1.0]
"""

from collections.abc import Sequence

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.codebook.levels import CodebookFormat

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


@FORMATS.register("nf4")
class NormalFloat4(CodebookFormat):
    """The 4-bit NormalFloat."""

    name = "nf4"
    covers_ends = True
    is_symmetric = False
    fixed_bits = min_bits = max_bits = 4

    def levels(self, num_bits: int) -> Sequence[float]:
        return NF4
