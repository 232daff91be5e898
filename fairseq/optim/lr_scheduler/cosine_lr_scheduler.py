"""`lr_scheduler=cosine`: linear warm-up, then cosine periods with warm restarts (Loshchilov & Hutter 2017).

With t updates into period i (both from 0), of length T_i = lr_period_updates * t_mult^i, and s = lr_shrink^i:

    lr = s * min_lr + 0.5 * s * (lr - min_lr) * (1 + cos(pi * t / T_i))

Without `lr_period_updates` one period spans all updates after the warm-up.
"""

import math
from typing import Any

from fairseq.dataclass.lr_schedulers import CosineConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import Warmup, single_lr

CosineLRScheduleConfig = CosineConfig  # fairseq's name


@register_lr_scheduler("cosine", dataclass=CosineConfig)
class CosineLRSchedule(FairseqLRScheduler):
    """Warm-up and cosine periods; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.max_lr = single_lr(cfg, "cosine")
        self.min_lr: float = cfg.min_lr
        self.lr_shrink: float = cfg.lr_shrink
        self.t_mult: float = cfg.t_mult
        self.period = cfg.lr_period_updates if cfg.lr_period_updates > 0 else cfg.max_update - cfg.warmup_updates
        if self.max_lr <= self.min_lr:
            raise ConfigError(f"lr_scheduler=cosine: min_lr {self.min_lr} must be below optimization.lr {self.max_lr}")
        if self.period <= 0:
            raise ConfigError(
                f"lr_scheduler=cosine: set lr_period_updates, or optimization.max_update (now {cfg.max_update}) "
                f"above warmup_updates ({cfg.warmup_updates})"
            )
        init = self.min_lr if cfg.warmup_init_lr < 0 else cfg.warmup_init_lr
        self.warmup = Warmup(cfg.warmup_updates, init, self.max_lr)
        self.lr = init
        self.optimizer.set_lr(self.lr)

    def step_update(self, num_updates: int) -> float:
        if self.warmup.covers(num_updates):
            self.lr = self.warmup.lr(num_updates)
        else:
            self.lr = self._decayed(num_updates - self.warmup.num_updates)
        self.optimizer.set_lr(self.lr)
        return self.lr

    def _decayed(self, since_warmup: int) -> float:
        if self.t_mult != 1:  # lengths are a geometric series; invert its sum to find the period
            i = math.floor(math.log(1 - since_warmup / self.period * (1 - self.t_mult), self.t_mult))
            length = self.t_mult**i * self.period
            t = since_warmup - (1 - self.t_mult**i) / (1 - self.t_mult) * self.period
        else:
            i = math.floor(since_warmup / self.period)
            length = self.period
            t = since_warmup - self.period * i
        shrink = self.lr_shrink**i
        low, high = self.min_lr * shrink, self.max_lr * shrink
        return low + 0.5 * (high - low) * (1 + math.cos(math.pi * t / length))
