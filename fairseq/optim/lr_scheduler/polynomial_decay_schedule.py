"""`lr_scheduler=polynomial_decay`: linear warm-up, then a polynomial down to `end_learning_rate` at `total_num_update`.

    n <= warmup:  lr = peak * n / warmup
    after it:     lr = (peak - end) * (1 - (n - warmup) / (total - warmup)) ** power + end

The first update has rate 0 when there is a warm-up. The peak of epoch e is `lr[min(e, len(lr) - 1)]` (so a list is
read from its second entry on, as in fairseq); from epoch `force_anneal` on it is whatever the rate was when the epoch
began.
"""

from typing import Any, Optional

from fairseq.dataclass.lr_schedulers import PolynomialDecayConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import lr_list

PolynomialDecayLRScheduleConfig = PolynomialDecayConfig  # fairseq's name


@register_lr_scheduler("polynomial_decay", dataclass=PolynomialDecayConfig)
class PolynomialDecayLRSchedule(FairseqLRScheduler):
    """Warm-up and polynomial decay; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.lrs = lr_list(cfg)
        self.lr = self.lrs[0]
        self.warmup_updates: int = cfg.warmup_updates
        self.warmup_factor = 1.0 / self.warmup_updates if self.warmup_updates > 0 else 1.0
        self.end_learning_rate: float = cfg.end_learning_rate
        self.total_num_update = cfg.total_num_update
        self.power: float = cfg.power
        self.force_anneal: Optional[int] = cfg.force_anneal
        self.epoch: Optional[int] = None
        if self.total_num_update <= 0:
            raise ConfigError(
                "lr_scheduler=polynomial_decay needs the number of updates: "
                "set optimization.max_update or lr_scheduler.total_num_update"
            )
        self.optimizer.set_lr(self.warmup_factor * self.lr)

    def state_dict(self) -> dict[str, Any]:
        """`best` as in fairseq, and what makes a resume in the middle of an epoch exact: its peak."""
        return {"best": self.best, "lr": self.lr, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        if self.force_anneal is not None:  # else the peak follows from the config, which may have changed
            self.lr = state_dict.get("lr", self.lr)
            self.epoch = state_dict.get("epoch")

    def get_next_lr(self, epoch: int) -> float:
        """The peak of `epoch`."""
        if self.force_anneal is None or epoch < self.force_anneal:
            return self.lrs[min(epoch, len(self.lrs) - 1)]
        return self.optimizer.get_lr()

    def step_begin_epoch(self, epoch: int) -> float:  # type: ignore[override]
        if epoch != self.epoch:
            self.lr = self.get_next_lr(epoch)
            self.epoch = epoch
        self.optimizer.set_lr(self.warmup_factor * self.lr)
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        if self.warmup_updates > 0 and num_updates <= self.warmup_updates:
            self.warmup_factor = num_updates / float(self.warmup_updates)
            lr = self.warmup_factor * self.lr
        elif num_updates >= self.total_num_update:
            lr = self.end_learning_rate
        else:
            warmup = self.warmup_updates
            remaining = 1 - (num_updates - warmup) / (self.total_num_update - warmup)
            lr = (self.lr - self.end_learning_rate) * remaining**self.power + self.end_learning_rate
        self.optimizer.set_lr(lr)
        return self.optimizer.get_lr()

    def reinit(self, total_num_update: int, num_updates: int) -> None:
        """Take a new total, unless the config fixes it."""
        if self.total_num_update != total_num_update:
            self.total_num_update = total_num_update
            self.step_update(num_updates)
