"""Precision that rises when gradients stop pointing in different directions (MuPPET, Rajagopal et al.,
arXiv:2006.09049).

The diversity of gradients g_1 .. g_r, one per interval, is  d = sum |g_k|^2 / |sum g_k|^2:  1 / r where all point the
same way, 1 where they are orthogonal. Normalised by the largest value seen at the current bits, it falls as these bits
are exhausted. When

    d_max / d > alpha + beta e^(-decay * j)              j: intervals at the current bits

for `patience` intervals, bits rise to the next rung of the ladder.

>>> schedule = Diversity(low=8, high=16, patience=1, beta=0.0)
>>> for update, d in enumerate([0.9, 0.9, 0.5]):
...     schedule.observe(update, diversity=d)
>>> schedule.bits(3, 100)
12
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from fairseq.errors import ConfigError
from fairseq.quantization.schedules.base import SCHEDULES, PrecisionSchedule


@SCHEDULES.register("diversity")
class Diversity(PrecisionSchedule):
    """Bits by gradient diversity.

    Args:
        low, high: bounds in bits.
        ladder: bits in ascending order; rungs outside the bounds are left out, the bounds themselves are rungs.
        alpha, beta, decay: the threshold above.
        patience: intervals over the threshold before bits rise.
        interval: updates between two gradients; None for one epoch.
        resolution: gradients that one measurement compares.
    """

    name = "diversity"
    adaptive = True

    def __init__(
        self,
        low: int,
        high: int,
        ladder: Sequence[int] = (8, 12, 14, 16),
        alpha: float = 1.0,
        beta: float = 1.5,
        decay: float = 0.1,
        patience: int = 2,
        interval: Optional[int] = None,
        resolution: int = 3,
    ):
        super().__init__(low, high)
        if patience < 1 or alpha < 1 or beta < 0 or decay < 0:
            raise ConfigError("precision schedule diversity: needs patience >= 1, alpha >= 1, beta and decay >= 0")
        self.ladder = sorted({low, high, *(bits for bits in ladder if low < bits < high)})
        if (interval is not None and interval < 1) or resolution < 2:
            raise ConfigError(
                "precision schedule diversity: needs an interval of 1 or more and a resolution of 2 or more"
            )
        self.interval, self.resolution = interval, resolution
        self.alpha, self.beta, self.decay, self.patience = alpha, beta, decay, patience
        self.rung = 0
        self.largest = 0.0
        self.intervals = 0
        self.violations = 0

    def at(self, update: int, total_updates: int) -> int:
        return self.ladder[self.rung]

    def observe(self, update: int, loss: Optional[float] = None, diversity: Optional[float] = None) -> None:
        if diversity is None or not math.isfinite(diversity) or diversity <= 0:
            return
        self.largest = max(self.largest, diversity)
        threshold = self.alpha + self.beta * math.exp(-self.decay * self.intervals)
        self.intervals += 1
        self.violations = self.violations + 1 if self.largest / diversity > threshold else 0
        if self.violations >= self.patience and self.rung + 1 < len(self.ladder):
            self.rung += 1
            self.largest, self.intervals, self.violations = 0.0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("rung", "largest", "intervals", "violations")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.state_dict():
            setattr(self, name, state[name])
