"""Cyclic precision: the cosine of CPT (arXiv:2101.09868) and its nine relatives (Wolfe & Kyrillidis, arXiv:2403.02243).

A run of T updates has n cycles. With D = high - low and z in [0, 1) the place within the cycle, bits are the rounded
value of

    growth   linear       low + D z                     exponential   high - D e^(-4z)
             cosine       low + D (1 - cos(pi z)) / 2   REX           high - D w / (0.1 + 0.9 w),   w = 1 - z
    decay    vertical     growth upside down:   low + high - growth(z)
             horizontal   growth run backwards: growth(1 - z)

Repeated schedules (`?R`) grow in every cycle; triangular ones (`?T`, `?TV`, `?TH`) decay in cycles 0, 2, ... and grow
in cycles 1, 3, ... For linear and cosine both reflections are the same.

z = (t n mod T) / T, in whole numbers: n cycles exactly whether or not n divides T; where it does, this is CPT's
(t mod P) / P with P = T / n.
No cycle is shorter than two updates: of more cycles than that T / 2 remain. Half-way values round to the even number.

>>> from fairseq.quantization.schedules import build_schedule
>>> [build_schedule("ETH", low=3, high=8, num_cycles=2).bits(update, 10) for update in range(10)]
[8, 8, 8, 7, 6, 3, 6, 7, 8, 8]
"""

import math
from collections.abc import Callable

from fairseq.errors import ConfigError
from fairseq.quantization.schedules.base import SCHEDULES, PrecisionSchedule

Profile = Callable[[float], float]  # z in [0, 1] -> share of the way from low to high


def linear(z: float) -> float:
    return z


def cosine(z: float) -> float:
    # the reference's form, so that values half-way between two bits fall to the same side
    return 0.5 * (1 + math.cos(math.pi * z + math.pi))


def exponential(z: float) -> float:
    return 1 - math.exp(-4 * z)


def rex(z: float) -> float:
    return 1 - (1 - z) / (0.1 + 0.9 * (1 - z))


def vertical(growth: Profile) -> Profile:
    return lambda z: 1 - growth(z)


def horizontal(growth: Profile) -> Profile:
    return lambda z: growth(1 - z)


class Cyclic(PrecisionSchedule):
    """Growth in every cycle, or decay and growth in turns.

    Args:
        low, high: bounds in bits.
        num_cycles: cycles over the whole run.
    """

    growth: Profile
    decay: Profile

    def __init__(self, low: int, high: int, num_cycles: int = 8):
        super().__init__(low, high)
        if isinstance(num_cycles, bool) or not isinstance(num_cycles, int) or num_cycles < 1:
            raise ConfigError(
                f"precision schedule: num_cycles must be a whole number of at least 1, got {num_cycles!r}"
            )
        self.num_cycles = num_cycles

    def cycles(self, total_updates: int) -> int:
        """Cycles in a run of this length."""
        return min(self.num_cycles, max(total_updates // 2, 1))

    def at(self, update: int, total_updates: int) -> int:
        cycle, place = divmod(update * self.cycles(total_updates), total_updates)
        profile = type(self).decay if cycle % 2 == 0 else type(self).growth
        return round(self.low + (self.high - self.low) * profile(place / total_updates))

    def notes(self, total_updates: int) -> list[str]:
        cycles = self.cycles(total_updates)
        if cycles == self.num_cycles:
            return []
        return [f"precision schedule: {total_updates} updates have room for {cycles} of {self.num_cycles} cycles"]


def _define(name: str, growth: Profile, decay: Profile) -> None:
    body = {"name": name, "growth": staticmethod(growth), "decay": staticmethod(decay), "__module__": __name__}
    SCHEDULES.register(name)(type(f"{name}Schedule", (Cyclic,), body))


for _letter, _growth in (("L", linear), ("C", cosine), ("E", exponential), ("R", rex)):
    _define(f"{_letter}R", _growth, _growth)
for _letter, _growth in (("L", linear), ("C", cosine)):
    _define(f"{_letter}T", _growth, vertical(_growth))
for _letter, _growth in (("E", exponential), ("R", rex)):
    _define(f"{_letter}TV", _growth, vertical(_growth))
    _define(f"{_letter}TH", _growth, horizontal(_growth))
