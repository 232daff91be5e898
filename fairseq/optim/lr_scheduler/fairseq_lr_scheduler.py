"""`FairseqLRScheduler`: sets the optimizer's learning rate when the trainer reports an epoch or an update.

Order of calls in a run: constructor, `step_update(0)`; each epoch `step_begin_epoch(epoch)`, then `step_update(n)`
after each update, and `step(epoch, valid_loss)` at its end.
"""

import math
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, Optional

from fairseq.dataclass.flags import add_flags_of
from fairseq.errors import ConfigError
from fairseq.optim.fairseq_optimizer import FairseqOptimizer


class FairseqLRScheduler:
    """Base of all schedules; this one leaves the rate alone.

    Args:
        cfg: the schedule's config node, dataclass or namespace.
        optimizer: whose rate is set.

    Attributes:
        best: the lowest validation loss reported so far; the only thing saved by default.
    """

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__()
        if not isinstance(optimizer, FairseqOptimizer):
            raise ValueError(f"optimizer must be a FairseqOptimizer, not {type(optimizer).__name__}")
        self.cfg = cfg
        self.optimizer = optimizer
        self.best: Optional[float] = None

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add a schedule's flags to `parser`: those of its config dataclass, unless a class overrides this."""
        add_flags_of(cls, parser)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def step_begin_epoch(self, epoch: int) -> None:
        """Epoch `epoch` (from 1) is about to start."""

    def step(self, epoch: int, val_loss: Optional[float] = None) -> None:
        """Epoch `epoch` has ended with this validation loss, or without validation."""
        if val_loss is not None and not math.isnan(val_loss):
            self.best = val_loss if self.best is None or math.isnan(self.best) else min(self.best, val_loss)

    def step_update(self, num_updates: int) -> float:
        """`num_updates` updates are done; returns the rate for the next one."""
        return self.optimizer.get_lr()

    def reinit(self, total_num_update: int, num_updates: int) -> None:
        """Adopt a new total number of updates; for schedules that can."""


class LegacyFairseqLRScheduler(FairseqLRScheduler):
    """Base for schedules in the argparse style (`add_args`, options read from `self.args`)."""

    def __init__(self, args: Namespace, optimizer: Any):
        super().__init__(args, optimizer)
        self.args = args


def lr_list(cfg: Any) -> Sequence[float]:
    """`cfg.lr` as a list: one rate an epoch, the last one for all later epochs."""
    return [float(cfg.lr)] if isinstance(cfg.lr, (int, float)) else [float(lr) for lr in cfg.lr]


def single_lr(cfg: Any, name: str) -> float:
    """The one rate of a schedule that follows updates, not epochs."""
    rates = lr_list(cfg)
    if len(rates) != 1:
        raise ConfigError(
            f"lr_scheduler={name} takes one optimization.lr, got {list(rates)}; use lr_scheduler=fixed for a list"
        )
    return rates[0]


class Warmup:
    """Linear warm-up: `init + n * (peak - init) / num_updates` for n < num_updates.

    >>> warmup = Warmup(4, 0.0, 1.0)
    >>> [warmup.lr(n) for n in range(4)]
    [0.0, 0.25, 0.5, 0.75]
    """

    def __init__(self, num_updates: int, init: float, peak: float):
        self.num_updates = num_updates
        self.init = init
        self.slope = (peak - init) / num_updates if num_updates > 0 else 0.0

    def covers(self, num_updates: int) -> bool:
        return num_updates < self.num_updates

    def lr(self, num_updates: int) -> float:
        return self.init + num_updates * self.slope
