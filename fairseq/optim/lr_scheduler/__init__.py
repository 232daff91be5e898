"""Learning-rate schedules: `build_lr_scheduler(cfg.lr_scheduler, optimizer)` and `@register_lr_scheduler("name",
dataclass=...)`.

>>> "polynomial_decay" in LR_SCHEDULER_REGISTRY
True
"""

from typing import Any

from fairseq import registry
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import FairseqLRScheduler, LegacyFairseqLRScheduler

__all__ = [
    "LR_SCHEDULER_DATACLASS_REGISTRY",
    "LR_SCHEDULER_REGISTRY",
    "FairseqLRScheduler",
    "LegacyFairseqLRScheduler",
    "build_lr_scheduler",
    "register_lr_scheduler",
]

_build, register_lr_scheduler, LR_SCHEDULER_REGISTRY, LR_SCHEDULER_DATACLASS_REGISTRY = registry.setup_registry(
    "--lr-scheduler",
    base_class=FairseqLRScheduler,
    default="fixed",
    required=True,
)


def build_lr_scheduler(cfg: Any, optimizer: Any) -> FairseqLRScheduler:
    """The schedule that `cfg` names, driving `optimizer`."""
    return _build(cfg, optimizer)
