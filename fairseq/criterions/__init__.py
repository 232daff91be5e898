"""Criterions (losses): `build_criterion(cfg.criterion, task)` and `@register_criterion("name", dataclass=...)`.

>>> "sentence_prediction" in CRITERION_REGISTRY
True
"""

from typing import Any

from fairseq import registry
from fairseq.criterions.fairseq_criterion import FairseqCriterion, LegacyFairseqCriterion

__all__ = [
    "CRITERION_DATACLASS_REGISTRY",
    "CRITERION_REGISTRY",
    "FairseqCriterion",
    "LegacyFairseqCriterion",
    "build_criterion",
    "register_criterion",
]

_build, register_criterion, CRITERION_REGISTRY, CRITERION_DATACLASS_REGISTRY = registry.setup_registry(
    "--criterion",
    base_class=FairseqCriterion,
    default="cross_entropy",
    required=True,
)


def build_criterion(cfg: Any, task: Any, from_checkpoint: bool = False) -> FairseqCriterion:
    """The criterion that `cfg` names, for `task`."""
    return _build(cfg, task)
