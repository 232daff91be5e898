"""Optimizers: `build_optimizer(cfg.optimizer, params)` and `@register_optimizer("name", dataclass=...)`.

>>> "adam" in OPTIMIZER_REGISTRY
True
"""

import importlib
from typing import Any

from fairseq import registry
from fairseq.optim.fairseq_optimizer import FairseqOptimizer, LegacyFairseqOptimizer

__all__ = [
    "OPTIMIZER_DATACLASS_REGISTRY",
    "OPTIMIZER_REGISTRY",
    "FairseqOptimizer",
    "LegacyFairseqOptimizer",
    "build_optimizer",
    "register_optimizer",
]

_build_optimizer, register_optimizer, OPTIMIZER_REGISTRY, OPTIMIZER_DATACLASS_REGISTRY = registry.setup_registry(
    "--optimizer",
    base_class=FairseqOptimizer,
    required=True,
)


def build_optimizer(cfg: Any, params: Any, *extra_args: Any, **extra_kwargs: Any) -> FairseqOptimizer:
    """The optimizer that `cfg` names, over those of `params` that require a gradient.

    Args:
        cfg: config node with `_name`, namespace with `optimizer`, or a bare name.
        params: parameters, or torch parameter groups (`{"params": [...], ...}`).
    """
    kept: list[Any] = []
    for entry in params:
        if isinstance(entry, dict):
            group = {**entry, "params": [p for p in entry["params"] if p.requires_grad]}
            kept += [group] if group["params"] else []
        elif entry.requires_grad:
            kept.append(entry)
    return _build_optimizer(cfg, kept, *extra_args, **extra_kwargs)


# optimizers around optimizers; imported when first used: this package's trainer needs none of them
_HOME = {
    "AMPOptimizer": "amp_optimizer",
    "FP16Optimizer": "fp16_optimizer",
    "MemoryEfficientFP16Optimizer": "fp16_optimizer",
    "shard_": "shard",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
