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

_HERE = "fairseq.optim.lr_scheduler"

_build, register_lr_scheduler, LR_SCHEDULER_REGISTRY, LR_SCHEDULER_DATACLASS_REGISTRY = registry.setup_registry(
    "--lr-scheduler",
    base_class=FairseqLRScheduler,
    default="fixed",
    required=True,
    builtins={
        "cosine": f"{_HERE}.cosine_lr_scheduler",
        "fixed": f"{_HERE}.fixed_schedule",
        "inverse_sqrt": f"{_HERE}.inverse_square_root_schedule",
        "manual": f"{_HERE}.manual_lr_scheduler",
        "pass_through": f"{_HERE}.pass_through",
        "polynomial_decay": f"{_HERE}.polynomial_decay_schedule",
        "reduce_lr_on_plateau": f"{_HERE}.reduce_lr_on_plateau",
        "step": f"{_HERE}.step_lr_scheduler",
        "tri_stage": f"{_HERE}.tri_stage_lr_scheduler",
        "triangular": f"{_HERE}.triangular_lr_scheduler",
    },
)


def build_lr_scheduler(cfg: Any, optimizer: Any) -> FairseqLRScheduler:
    """The schedule that `cfg` names, driving `optimizer`."""
    return _build(cfg, optimizer)
