"""The range with which rounding normal numbers has the least mean squared error: a multiple of the root mean square.

    high = c r + 1e-8,   low = -high,   r = sqrt(mean x^2),   c = argmin E (Q_c(z) - z)^2,   z ~ N(0, 1)

c follows from the levels alone. With levels l_i c (the largest |l_i| is 1) and cells between their midpoints, the error
is least where

    c = sum_i l_i (phi(t_i) - phi(t_i+1)) / sum_i l_i^2 (Phi(t_i+1) - Phi(t_i)),   t_i = c (l_i-1 + l_i) / 2

For `midrise` c is what QuEST published, rounded as there: up to 4 bits within 0.003 % of the solution, at 8 bits 1 %
below it.

QuEST, arXiv:2502.05003, section 3.1, after a Hadamard rotation has made values near to normal; `centred: true` takes
the standard deviation instead (Quartet, arXiv:2505.14669). Granularity says over which values r is taken.

>>> from fairseq.quantization.formats import build_format
>>> round(least_squares_multiple(build_format("midrise"), 4), 8)
2.51393058
"""

import itertools
import math
from functools import lru_cache

from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.formats import NumberFormat
from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request

EPSILON = 1e-8
# of QuEST, for 1 to 8 bits
PUBLISHED = (
    0.797884559, 1.493534620, 2.051068354, 2.513930579, 2.916093883, 3.276597283, 3.601049719, 3.884938679,
)  # fmt: skip


@OBSERVERS.register("gaussian")
class Gaussian(Observer):
    """A multiple of the root mean square.

    Args:
        centred: of the deviation from the mean instead.
    """

    def __init__(self, centred: bool = False):
        super().__init__()
        if not isinstance(centred, bool):
            raise ConfigError(f"range gaussian: centred is true or false, got {centred!r}")
        self.centred = centred

    def forward(self, x: Tensor, request: Request) -> Range:
        if not request.format.is_symmetric or request.format.needs_statistic:
            raise ConfigError(
                f"range gaussian: the levels of the format {request.format} do not mirror around 0 at a scale of "
                "their own; use midrise, symmetric, fp4_e2m1 or a format of blocks"
            )
        axes = request.axes
        if axes and self.centred:
            x = x - x.mean(axes, keepdim=True)
        size = x.square().mean(axes, keepdim=True).sqrt() if axes else x.abs()
        high = size * least_squares_multiple(request.format, request.num_bits) + EPSILON
        return Range(-high, high, covers=False)


@lru_cache(maxsize=64)
def least_squares_multiple(number_format: NumberFormat, num_bits: int) -> float:
    """c for the levels of a format that mirror around 0."""
    values = number_format.values(num_bits).tolist()
    largest = max(values)
    levels = sorted({value / largest for value in values})
    count = len(levels)
    if 2**num_bits == count <= 2 ** len(PUBLISHED) and _are_even(levels):
        return PUBLISHED[num_bits - 1]

    def excess(c: float) -> float:
        """Half of the derivative of the error."""
        edges = [-math.inf, *(c * (a + b) / 2 for a, b in itertools.pairwise(levels)), math.inf]
        first = sum(level * (_density(a) - _density(b)) for level, a, b in zip(levels, edges, edges[1:], strict=False))
        second = sum(
            level * level * (_share(b) - _share(a)) for level, a, b in zip(levels, edges, edges[1:], strict=False)
        )
        return c * second - first

    low, high = 0.1, 20.0  # the error falls up to c, and rises behind
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2


def _are_even(levels: list[float]) -> bool:
    step = 2 / (len(levels) - 1)
    return all(abs(level - (i * step - 1)) < 1e-6 for i, level in enumerate(levels))


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _share(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2
