"""`lr_scheduler=fixed`: one learning rate an epoch, with warm-up and optional annealing.

Epoch e takes `lr[e - 1]` (the last one for all later epochs); from epoch `force_anneal` on,
`lr[-1] * lr_shrink ** (e + 1 - force_anneal)`. Update n of the warm-up takes (n + 1) / warmup_updates of it.
"""

from typing import Any, Optional

from fairseq.dataclass.lr_schedulers import FixedConfig
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import lr_list

FixedLRScheduleConfig = FixedConfig  # fairseq's name


@register_lr_scheduler("fixed", dataclass=FixedConfig)
class FixedLRSchedule(FairseqLRScheduler):
    """A rate for each epoch; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.lrs = lr_list(cfg)
        self.force_anneal: Optional[int] = cfg.force_anneal
        self.lr_shrink: float = cfg.lr_shrink
        self.warmup_updates: int = cfg.warmup_updates
        self.lr = self.lrs[0]
        self.warmup_factor = 1.0 / self.warmup_updates if self.warmup_updates > 0 else 1.0

    def state_dict(self) -> dict[str, Any]:
        return {"lr": self.lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lr = state_dict.get("lr", self.lr)

    def get_next_lr(self, epoch: int) -> float:
        """The rate of `epoch`, before warm-up."""
        if self.force_anneal is None or epoch < self.force_anneal:
            return self.lrs[min(epoch - 1, len(self.lrs) - 1)]
        return self.lrs[-1] * self.lr_shrink ** (epoch + 1 - self.force_anneal)

    def step_begin_epoch(self, epoch: int) -> float:  # type: ignore[override]
        self.lr = self.get_next_lr(epoch)
        self.optimizer.set_lr(self.warmup_factor * self.lr)
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        if num_updates < self.warmup_updates:
            self.warmup_factor = (num_updates + 1) / float(self.warmup_updates)
        else:
            self.warmup_factor = 1.0
        self.optimizer.set_lr(self.warmup_factor * self.lr)
        return self.optimizer.get_lr()
