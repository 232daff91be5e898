"""The precision range test: how few bits still learn (CPT, arXiv:2101.09868, section 3.3).

Train a few updates at each precision, from the lowest up, and watch how fast training accuracy rises. The lower bound
is the first precision at which it gains more than a threshold:

    gain(b) = mean accuracy of the last window at b  -  mean accuracy of the first window at b
    lower bound = min { b : gain(b) > threshold }

>>> test = PrecisionRangeTest(low=2, high=4, updates_per_bits=4, window=2, threshold=0.01)
>>> for update, accuracy in enumerate([0.5, 0.5, 0.5, 0.5,  0.5, 0.55, 0.6, 0.65]):
...     test.observe(update, accuracy)
>>> test.bits(7), test.lower_bound(), test.is_done(8)
(3, 3, True)
"""

from dataclasses import asdict, dataclass
from typing import Any, Optional

from fairseq.errors import ConfigError


@dataclass(frozen=True)
class RangePoint:
    """One precision: mean accuracy at its start and end, and the difference."""

    num_bits: int
    first: float
    last: float
    gain: float


class PrecisionRangeTest:
    """Decides bits update by update and reads off the bound.

    Args:
        low: first precision.
        high: last precision, the upper bound that training will have.
        updates_per_bits: updates at each.
        window: updates per mean, at most half of them.
        threshold: gain above which a precision counts as learning.
        stop_early: end with the first precision that learns.
    """

    def __init__(
        self,
        low: int = 2,
        high: int = 8,
        updates_per_bits: int = 100,
        window: Optional[int] = None,
        threshold: float = 0.01,
        stop_early: bool = True,
    ):
        if not 1 <= low <= high:
            raise ConfigError(f"precision range test: needs 1 <= low <= high, got {low} and {high}")
        window = max(updates_per_bits // 4, 1) if window is None else window
        if window < 1 or updates_per_bits < 2 * window:
            raise ConfigError(
                f"range test: {updates_per_bits} updates at each precision are too few for two windows of {window}"
            )
        self.low, self.high, self.updates_per_bits = low, high, updates_per_bits
        self.window, self.threshold, self.stop_early = window, threshold, stop_early
        self.accuracies: dict[int, list[float]] = {bits: [] for bits in range(low, high + 1)}

    @property
    def total_updates(self) -> int:
        """Updates of the whole test, if it does not stop early."""
        return (self.high - self.low + 1) * self.updates_per_bits

    def bits(self, update: int) -> int:
        """Bits of the update that follows `update` done ones."""
        return min(self.low + update // self.updates_per_bits, self.high)

    def observe(self, update: int, accuracy: float) -> None:
        """Training accuracy of an update."""
        self.accuracies[self.bits(update)].append(float(accuracy))

    def is_done(self, updates_done: int) -> bool:
        """Whether enough has been seen."""
        if updates_done >= self.total_updates:
            return True
        return self.stop_early and updates_done % self.updates_per_bits == 0 and self.lower_bound() is not None

    def curve(self) -> list[RangePoint]:
        """One point per precision that is complete."""
        points = []
        for bits, seen in self.accuracies.items():
            if len(seen) >= self.updates_per_bits:
                first, last = sum(seen[: self.window]) / self.window, sum(seen[-self.window :]) / self.window
                points.append(RangePoint(bits, first, last, last - first))
        return points

    def lower_bound(self) -> Optional[int]:
        """The first precision that learns; None if none has."""
        return next((point.num_bits for point in self.curve() if point.gain > self.threshold), None)

    def as_dict(self) -> dict[str, Any]:
        """Result and curve as JSON values."""
        return {
            "lower_bound": self.lower_bound(),
            "upper_bound": self.high,
            "threshold": self.threshold,
            "curve": [asdict(point) for point in self.curve()],
        }
