"""Whether a checkpoint or a validation is due after an update.

>>> from types import SimpleNamespace as Settings
>>> cfg = Settings(
...     dataset=Settings(validate_after_updates=0, validate_interval=1, validate_interval_updates=0),
...     checkpoint=Settings(save_interval=1, save_interval_updates=100),
... )
>>> due(cfg, num_updates=100, epoch=1, end_of_epoch=False, stops=False)
Due(save=True, validate=True)
>>> due(cfg, num_updates=101, epoch=1, end_of_epoch=False, stops=False)
Due(save=False, validate=False)
"""

from typing import Any, NamedTuple


class Due(NamedTuple):
    save: bool
    validate: bool


def due(cfg: Any, num_updates: int, epoch: int, end_of_epoch: bool, stops: bool) -> Due:
    """What is due after update `num_updates`, the last one of `epoch` if `end_of_epoch`.

    A checkpoint inside an epoch is validated as well, since a checkpoint is named by its score. A run that stops
    (`stops`) saves and validates. Nothing is validated before `dataset.validate_after_updates`.
    """
    dataset, checkpoint = cfg.dataset, cfg.checkpoint
    ready = num_updates >= dataset.validate_after_updates
    if end_of_epoch:
        save = epoch % checkpoint.save_interval == 0
        validate = epoch % dataset.validate_interval == 0
    else:
        save = validate = False
    if ready and _every(checkpoint.save_interval_updates, num_updates):
        save = True
    if (save or stops) and not end_of_epoch:
        validate = True
    if stops or _every(dataset.validate_interval_updates, num_updates):
        validate = True
    return Due(save or stops, validate and ready)


def _every(interval: int, num_updates: int) -> bool:
    """Whether `num_updates` is a multiple of `interval`, which is off at 0."""
    return interval > 0 and num_updates > 0 and num_updates % interval == 0
