"""Which files a checkpoint is written to, and which older ones make room: fairseq's names and retention rules.

    checkpoint3.pt                       end of epoch 3, every `save_interval` epochs
    checkpoint_3_500.pt                  update 500, in the middle of epoch 3, every `save_interval_updates`
    checkpoint_best.pt                   the best validation so far; a tie counts as better
    checkpoint.best_accuracy_91.2000.pt  the `keep_best_checkpoints` best; one more digit keeps ties apart
    checkpoint_last.pt                   always

>>> is_better(0.5, 0.5, maximize=True), is_better(float("nan"), 0.5, maximize=False)
(True, False)
"""

import math
import os
import re
from typing import Any, Optional

import numpy as np

ANY_EPOCH = r"checkpoint(\d+)\.pt"


def checkpoint_paths(path: str, pattern: str = ANY_EPOCH, keep_match: bool = False) -> list:
    """The files in folder `path` whose whole name matches `pattern`, by the number in its first group, highest first.

    Args:
        keep_match: return `(path, number)` pairs.
    """
    matcher = re.compile(pattern)
    found = []
    for place, name in enumerate(os.listdir(path) if os.path.isdir(path) else []):
        match = matcher.fullmatch(name)
        if match is not None:
            found.append((float(match.group(1)) if matcher.groups > 0 else float(place), name))
    found.sort(reverse=True)
    return [(os.path.join(path, name), number) if keep_match else os.path.join(path, name) for number, name in found]


def is_better(a: float, b: float, maximize: bool) -> bool:
    """True if `a` is at least as good as `b`; NaN never is."""
    return a >= b if maximize else a <= b


def best_of(value: Optional[float], best: Optional[float], maximize: bool) -> Optional[float]:
    """The better of a new value and the best so far; either may be missing."""
    if value is None or math.isnan(value):
        return best
    return value if best is None or is_better(value, best, maximize) else best


def best_pattern(cfg: Any, suffix: str) -> str:
    """Matches the files that `keep_best_checkpoints` writes; the group is the value."""
    return rf"checkpoint\.best_{re.escape(cfg.best_checkpoint_metric)}_(-?\d+\.?\d*){re.escape(suffix)}\.pt"


def files_due(
    cfg: Any,
    *,
    epoch: int,
    num_updates: int,
    end_of_epoch: bool,
    val_loss: Optional[float],
    best: Optional[float],
    suffix: str = "",
) -> list[str]:
    """Paths that this state of the run is to be written to.

    Args:
        cfg: the `checkpoint` group.
        val_loss: the validation just done, None if there was none.
        best: the best value so far, this one included.
    """
    names = []
    every = cfg.save_interval_updates
    if end_of_epoch and not cfg.no_epoch_checkpoints and epoch % cfg.save_interval == 0:
        names.append(f"checkpoint{epoch}{suffix}.pt")
    if not end_of_epoch and every > 0 and num_updates % every == 0:
        names.append(f"checkpoint_{epoch}_{num_updates}{suffix}.pt")
    if val_loss is not None and best is not None and is_better(val_loss, best, cfg.maximize_best_checkpoint_metric):
        names.append(f"checkpoint_best{suffix}.pt")
    if val_loss is not None and cfg.keep_best_checkpoints > 0:
        kept = checkpoint_paths(cfg.save_dir, best_pattern(cfg, suffix), keep_match=True)
        worst = kept[-1 if cfg.maximize_best_checkpoint_metric else 0][1] if kept else val_loss
        if is_better(val_loss, worst, cfg.maximize_best_checkpoint_metric):
            digit = _tie_breaker(cfg.keep_best_checkpoints, epoch, num_updates, val_loss)
            names.append(f"checkpoint.best_{cfg.best_checkpoint_metric}_{val_loss:.3f}{digit}{suffix}.pt")
    if not cfg.no_last_checkpoints:
        names.append(f"checkpoint_last{suffix}.pt")
    return [os.path.join(cfg.save_dir, name) for name in names]


def _tie_breaker(limit: int, *seeds: float) -> int:
    """A digit below `limit`, the same whenever the same state is saved."""
    return int(np.random.RandomState(int(hash(seeds) % 1e6)).randint(0, limit))


def files_expired(cfg: Any, end_of_epoch: bool, suffix: str = "") -> list[str]:
    """Paths that `keep_interval_updates`, `keep_last_epochs` and `keep_best_checkpoints` no longer keep."""
    expired: list[str] = []
    ending = re.escape(suffix)
    if not end_of_epoch and cfg.keep_interval_updates > 0:
        found = checkpoint_paths(cfg.save_dir, rf"checkpoint_\d+_(\d+){ending}\.pt", keep_match=True)
        every = cfg.keep_interval_updates_pattern
        if every != -1:  # those at a multiple are kept for good, and not counted
            found = [(path, number) for path, number in found if number % every != 0]
        expired += [path for path, _ in found[cfg.keep_interval_updates :]]
    if cfg.keep_last_epochs > 0:
        expired += checkpoint_paths(cfg.save_dir, rf"checkpoint(\d+){ending}\.pt")[cfg.keep_last_epochs :]
    if cfg.keep_best_checkpoints > 0:
        found = checkpoint_paths(cfg.save_dir, best_pattern(cfg, suffix))
        if not cfg.maximize_best_checkpoint_metric:
            found.reverse()
        expired += found[cfg.keep_best_checkpoints :]
    return expired
