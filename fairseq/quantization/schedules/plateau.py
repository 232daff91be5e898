"""Precision that rises when the loss stops falling (progressive quantization of FracTrain, Fu et al.,
arXiv:2012.13113).

Training starts at `low`. Losses are averaged over windows of `window` updates; when the average has not fallen by the
share `threshold` below the best one for `patience` windows, bits rise by `step`, and the comparison starts anew.

>>> schedule = Plateau(low=4, high=8, window=1, patience=2, step=2)
>>> for update in range(6):
...     schedule.observe(update, loss=1.0)
>>> schedule.bits(6, 100), schedule.bits(99, 100)
(8, 8)
"""

import math
from collections.abc import Mapping
from typing import Any, Optional

from fairseq.errors import ConfigError
from fairseq.quantization.schedules.base import SCHEDULES, PrecisionSchedule


@SCHEDULES.register("plateau")
class Plateau(PrecisionSchedule):
    """Bits by loss plateaus.

    Args:
        low, high: bounds in bits.
        window: updates per average.
        patience: windows without improvement before bits rise.
        threshold: least improvement, relative to the best average.
        step: bits gained at a time.
    """

    name = "plateau"
    adaptive = True

    def __init__(
        self, low: int, high: int, window: int = 50, patience: int = 2, threshold: float = 0.01, step: int = 1
    ):
        super().__init__(low, high)
        if min(window, patience, step) < 1 or threshold < 0:
            raise ConfigError(
                "precision schedule plateau: window, patience and step must be 1 or more, threshold not negative"
            )
        self.window, self.patience, self.threshold, self.step = window, patience, threshold, step
        self.current = low
        self.best = math.inf
        self.windows_without_gain = 0
        self.loss_sum, self.loss_count = 0.0, 0

    def at(self, update: int, total_updates: int) -> int:
        return self.current

    def observe(self, update: int, loss: Optional[float] = None, diversity: Optional[float] = None) -> None:
        if loss is None or not math.isfinite(loss):
            return
        self.loss_sum += loss
        self.loss_count += 1
        if self.loss_count < self.window:
            return
        mean = self.loss_sum / self.loss_count
        self.loss_sum, self.loss_count = 0.0, 0
        if mean < self.best - self.threshold * abs(self.best) or self.best == math.inf:
            self.best, self.windows_without_gain = mean, 0
            return
        self.windows_without_gain += 1
        if self.windows_without_gain >= self.patience:
            self.current = min(self.current + self.step, self.high)
            self.best, self.windows_without_gain = math.inf, 0

    def state_dict(self) -> dict[str, Any]:
        names = ("current", "best", "windows_without_gain", "loss_sum", "loss_count")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.state_dict():
            setattr(self, name, state[name])
