"""When to stop: patience over validations, and the limits on updates, time, learning rate and epochs.

>>> stopper = EarlyStopping(patience=2, maximize=True)
>>> [stopper.observe(score) for score in (70.0, 70.0, 69.0)]
[None, None, "early stop since valid performance hasn't improved for last 2 runs"]
"""

import math
from typing import Any, Optional

from fairseq.distributed import utils as distributed_utils


class EarlyStopping:
    """Counts validations in a row that did not beat the best one; `patience <= 0` never stops. State survives a
    resume. NaN beats nothing, and everything beats it.

    >>> stopper = EarlyStopping(patience=2, maximize=False)
    >>> [stopper.observe(score) for score in (float("nan"), 0.9, 0.8)], stopper.best
    ([None, None, None], 0.8)
    """

    def __init__(self, patience: int, maximize: bool):
        self.patience = patience
        self.maximize = maximize
        self.best: Optional[float] = None
        self.num_runs = 0

    def observe(self, valid_loss: Optional[float]) -> Optional[str]:
        """Record one validation; returns the reason to stop, or None."""
        if valid_loss is None or self.patience <= 0:
            return None
        best = None if self.best is None or math.isnan(self.best) else self.best  # NaN: in older checkpoints
        improved = best is None or (valid_loss > best if self.maximize else valid_loss < best)
        if improved and not math.isnan(valid_loss):
            self.best, self.num_runs = valid_loss, 0
            return None
        self.num_runs += 1
        if self.num_runs < self.patience:
            return None
        return f"early stop since valid performance hasn't improved for last {self.patience} runs"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "num_runs": self.num_runs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.num_runs = state["best"], state["num_runs"]


def limit_reached(cfg: Any, trainer: Any) -> Optional[str]:
    """Why training must end now (`optimization.max_update`, `stop_time_hours`), or None."""
    max_update = cfg.optimization.max_update
    if max_update and trainer.get_num_updates() >= max_update:
        return f"Stopping training due to num_updates: {trainer.get_num_updates()} >= max_update: {max_update}"
    hours = cfg.optimization.stop_time_hours
    if hours <= 0:
        return None
    # clocks differ between processes, which have to stop after the same update
    elapsed = distributed_utils.broadcast_object(trainer.cumulative_training_time()) / 3600
    if elapsed > hours:
        return f"Stopping training due to cumulative_training_time: {elapsed} > stop_time_hours: {hours} hour(s)"
    return None
