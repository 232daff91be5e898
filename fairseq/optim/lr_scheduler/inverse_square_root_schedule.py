"""`lr_scheduler=inverse_sqrt`: linear warm-up from `warmup_init_lr` (0 by default), then lr * sqrt(warmup_updates / n).

Vaswani et al. 2017, section 5.3, without the factor of the model's width.
"""

from typing import Any

from fairseq.dataclass.lr_schedulers import InverseSqrtConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import Warmup, single_lr

InverseSquareRootLRScheduleConfig = InverseSqrtConfig  # fairseq's name


@register_lr_scheduler("inverse_sqrt", dataclass=InverseSqrtConfig)
class InverseSquareRootSchedule(FairseqLRScheduler):
    """Warm-up and inverse square root; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        peak = single_lr(cfg, "inverse_sqrt")
        if cfg.warmup_updates <= 0:
            raise ConfigError(f"lr_scheduler=inverse_sqrt needs warmup_updates >= 1, got {cfg.warmup_updates}")
        self.warmup = Warmup(cfg.warmup_updates, max(cfg.warmup_init_lr, 0), peak)
        self.decay_factor = peak * cfg.warmup_updates**0.5
        self.lr = self.warmup.init
        self.optimizer.set_lr(self.lr)

    def step_update(self, num_updates: int) -> float:
        if self.warmup.covers(num_updates):
            self.lr = self.warmup.lr(num_updates)
        else:
            self.lr = self.decay_factor * num_updates**-0.5
        self.optimizer.set_lr(self.lr)
        return self.lr
