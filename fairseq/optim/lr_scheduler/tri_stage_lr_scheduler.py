"""`lr_scheduler=tri_stage`: linear warm-up, hold, exponential decay, then constant (Park et al. 2019, SpecAugment).

    warm-up  init_lr_scale * peak  ->  peak        in warmup_steps
    hold     peak                                  for hold_steps
    decay    peak * final_lr_scale ** (t / decay_steps)
    after    final_lr_scale * peak

`phase_ratio=(a, b, c)` gives the three lengths as shares of `optimization.max_update`.
"""

import ast
import math
from typing import Any

from fairseq.dataclass.lr_schedulers import TriStageConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import Warmup, single_lr

TriStageLRScheduleConfig = TriStageConfig  # fairseq's name


@register_lr_scheduler("tri_stage", dataclass=TriStageConfig)
class TriStageLRSchedule(FairseqLRScheduler):
    """Warm-up, hold, decay; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.peak_lr = single_lr(cfg, "tri_stage")
        self.final_lr = cfg.final_lr_scale * self.peak_lr
        warmup_steps, self.hold_steps, self.decay_steps = self._lengths(cfg)
        self.warmup = Warmup(warmup_steps, cfg.init_lr_scale * self.peak_lr, self.peak_lr)
        if cfg.final_lr_scale <= 0:
            raise ConfigError(f"lr_scheduler=tri_stage: final_lr_scale must be above 0, got {cfg.final_lr_scale}")
        self.decay_factor = -math.log(cfg.final_lr_scale) / max(self.decay_steps, 1)
        self.lr = self.warmup.init
        self.optimizer.set_lr(self.lr)

    @staticmethod
    def _lengths(cfg: Any) -> tuple[int, int, int]:
        if cfg.phase_ratio is None:
            lengths = (cfg.warmup_steps, cfg.hold_steps, cfg.decay_steps)
            if sum(lengths) <= 0:
                raise ConfigError(
                    "lr_scheduler=tri_stage: set phase_ratio, or warmup_steps, hold_steps and decay_steps"
                )
            return lengths
        ratio = ast.literal_eval(cfg.phase_ratio) if isinstance(cfg.phase_ratio, str) else cfg.phase_ratio
        if len(ratio) != 3 or abs(sum(ratio) - 1) > 1e-9 or cfg.max_update <= 0:
            raise ConfigError(
                "lr_scheduler=tri_stage: phase_ratio needs three shares of sum 1 and optimization.max_update above 0, "
                f"got {list(ratio)} and {cfg.max_update}"
            )
        return tuple(int(cfg.max_update * share) for share in ratio)  # type: ignore[return-value]

    def step_update(self, num_updates: int) -> float:
        in_decay = num_updates - self.warmup.num_updates - self.hold_steps
        if self.warmup.covers(num_updates):
            self.lr = self.warmup.lr(num_updates)
        elif in_decay < 0:
            self.lr = self.peak_lr
        elif in_decay <= self.decay_steps:
            self.lr = self.peak_lr * math.exp(-self.decay_factor * in_decay)
        else:
            self.lr = self.final_lr
        self.optimizer.set_lr(self.lr)
        return self.lr
