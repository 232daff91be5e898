"""`lr_scheduler=step`: linear warm-up, then the rate times `lr_decay` every `lr_deacy_period` updates, not below
`min_lr`.

`lr_deacy_period` is fairseq's spelling; configs depend on it.
"""

from typing import Any

from fairseq.dataclass.lr_schedulers import StepConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import Warmup, single_lr

StepLRScheduleConfig = StepConfig  # fairseq's name


@register_lr_scheduler("step", dataclass=StepConfig)
class StepLRSchedule(FairseqLRScheduler):
    """Warm-up and steps; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.max_lr = single_lr(cfg, "step")
        self.min_lr: float = cfg.min_lr
        self.lr_decay: float = cfg.lr_decay
        self.period: int = cfg.lr_deacy_period
        if self.period <= 0:
            raise ConfigError(f"lr_scheduler=step: lr_deacy_period must be 1 or more, got {self.period}")
        if self.max_lr <= self.min_lr:
            raise ConfigError(f"lr_scheduler=step: min_lr {self.min_lr} must be below optimization.lr {self.max_lr}")
        init = self.min_lr if cfg.warmup_init_lr < 0 else cfg.warmup_init_lr
        self.warmup = Warmup(cfg.warmup_updates, init, self.max_lr)
        self.lr = init
        self.optimizer.set_lr(self.lr)

    def step_update(self, num_updates: int) -> float:
        if self.warmup.covers(num_updates):
            self.lr = self.warmup.lr(num_updates)
        else:
            num_steps = (num_updates - self.warmup.num_updates) // self.period
            self.lr = max(self.max_lr * self.lr_decay**num_steps, self.min_lr)
        self.optimizer.set_lr(self.lr)
        return self.lr
