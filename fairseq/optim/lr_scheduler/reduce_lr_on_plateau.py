"""`lr_scheduler=reduce_lr_on_plateau`: multiply the rate by `lr_shrink` when validation has not improved for
`lr_patience` epochs.

Built on torch's scheduler of that name, after a linear warm-up during which validation results are not counted.
"""

from typing import Any, Optional

import torch

from fairseq.dataclass.lr_schedulers import ReduceLROnPlateauConfig
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import Warmup, single_lr

ReduceLROnPlateauLRScheduleConfig = ReduceLROnPlateauConfig  # fairseq's name


@register_lr_scheduler("reduce_lr_on_plateau", dataclass=ReduceLROnPlateauConfig)
class ReduceLROnPlateauLRSchedule(FairseqLRScheduler):
    """Reduce on plateau; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        peak = single_lr(cfg, "reduce_lr_on_plateau")
        self.lr_scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer.optimizer,
            mode="max" if cfg.maximize_best_checkpoint_metric else "min",
            factor=cfg.lr_shrink,
            patience=cfg.lr_patience,
            threshold=cfg.lr_threshold,
        )
        init = cfg.warmup_init_lr
        if init < 0:
            init = 0 if cfg.warmup_updates > 0 else peak
        self.warmup = Warmup(cfg.warmup_updates, init, peak)
        self.warmup_end = cfg.warmup_updates <= 0
        self.lr = init if cfg.warmup_updates > 0 else peak
        self.optimizer.set_lr(self.lr)

    def state_dict(self) -> dict[str, Any]:
        """As fairseq's, and how long there has been no improvement."""
        plateau = self.lr_scheduler
        return {"best": plateau.best, "last_epoch": plateau.last_epoch, "num_bad_epochs": plateau.num_bad_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lr_scheduler.best = state_dict["best"]
        self.lr_scheduler.last_epoch = state_dict.get("last_epoch", self.lr_scheduler.last_epoch)
        self.lr_scheduler.num_bad_epochs = state_dict.get("num_bad_epochs", 0)

    def step(self, epoch: int, val_loss: Optional[float] = None) -> float:  # type: ignore[override]
        if val_loss is not None and self.warmup_end:
            self.lr_scheduler.step(val_loss)
        else:
            self.lr_scheduler.last_epoch = epoch
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        if self.warmup.num_updates > 0:
            if num_updates <= self.warmup.num_updates:
                self.optimizer.set_lr(self.warmup.lr(num_updates))
            else:
                self.warmup_end = True
        return self.optimizer.get_lr()
