"""`lr_scheduler=triangular`: up and down between `lr` and `max_lr` in each period (Smith 2017, cyclical learning
rates).

In cycle c (from 0), `max_lr` shrinks by lr_shrink^c, and so does `lr` with `shrink_min`.
"""

import math
from typing import Any

from fairseq.dataclass.lr_schedulers import TriangularConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import single_lr

TriangularLRScheduleConfig = TriangularConfig  # fairseq's name


@register_lr_scheduler("triangular", dataclass=TriangularConfig)
class TriangularLRSchedule(FairseqLRScheduler):
    """A triangle wave; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.min_lr = single_lr(cfg, "triangular")
        self.max_lr: float = cfg.max_lr
        self.lr_shrink: float = cfg.lr_shrink
        self.shrink_min: bool = cfg.shrink_min
        self.half_period = cfg.lr_period_updates // 2
        if self.max_lr <= self.min_lr:
            raise ConfigError(
                f"lr_scheduler=triangular: max_lr {self.max_lr} must be above optimization.lr {self.min_lr}"
            )
        if self.half_period < 1:
            raise ConfigError(
                f"lr_scheduler=triangular: lr_period_updates must be 2 or more, got {cfg.lr_period_updates}"
            )
        self.lr = self.min_lr
        self.optimizer.set_lr(self.lr)

    def step_update(self, num_updates: int) -> float:
        cycle = math.floor(num_updates / (2 * self.half_period))
        shrink = self.lr_shrink**cycle
        high = self.max_lr * shrink
        low = self.min_lr * shrink if self.shrink_min else self.min_lr
        distance = abs(
            num_updates / self.half_period - 2 * (cycle + 1) + 1
        )  # 1 at the ends of the cycle, 0 at its peak
        self.lr = low + (high - low) * max(0, 1 - distance)
        self.optimizer.set_lr(self.lr)
        return self.lr
