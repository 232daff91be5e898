"""`optimizer=composite`: several optimizers, each with a schedule, for groups of parameters that a model marks.

self.decoder.embed_tokens.weight.param_group = "embeddings"      # in a model; other parameters are "default"

optimizer:
  _name: composite
  groups:
    default: {lr: [0.001], optimizer: {_name: adam}, lr_scheduler: {_name: inverse_sqrt, warmup_updates: 4000}}
    embeddings: {lr_float: 0.1, optimizer: {_name: sgd}, lr_scheduler: {_name: fixed}}
lr_scheduler: pass_through
"""

from collections.abc import Iterable
from typing import Any, Callable, Optional

import torch

from fairseq import optim
from fairseq.dataclass.optimizers import CompositeOptimizerConfig, OptimizerAndSchedulerConfig
from fairseq.dataclass.typed import as_mapping
from fairseq.errors import ConfigError, unknown
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.light_optimizer import LightOptimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from fairseq.optim.lr_scheduler.fairseq_lr_scheduler import FairseqLRScheduler

__all__ = [
    "CompositeLRScheduler",
    "CompositeOptimizer",
    "CompositeOptimizerConfig",
    "FairseqCompositeOptimizer",
    "OptimizerAndSchedulerConfig",
]


@register_optimizer("composite", dataclass=CompositeOptimizerConfig)
class FairseqCompositeOptimizer(FairseqOptimizer):
    """An optimizer and a schedule for each group of parameters; `lr_scheduler=pass_through` hands on to the schedules.

    Raises:
        ConfigError: a group that the settings lack, or only one group.
    """

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        groups: dict[str, list[Any]] = {}
        for parameter in params:
            groups.setdefault(getattr(parameter, "param_group", "default"), []).append(parameter)
        if len(groups) < 2:
            raise ConfigError(
                f"optimizer=composite is for several groups of parameters, and this model has only {list(groups)}:"
                " it has to set `param_group` of its parameters"
            )
        self.optimizers: dict[str, FairseqOptimizer] = {}
        self.lr_schedulers: dict[str, FairseqLRScheduler] = {}
        for name in sorted(groups):
            if name not in cfg.groups:
                raise ConfigError("optimizer.groups: " + unknown("group of parameters", name, list(cfg.groups)))
            self.optimizers[name], self.lr_schedulers[name] = _built(name, cfg, groups[name])
        self.lr_scheduler = CompositeLRScheduler(self.lr_schedulers)
        self._optimizer = CompositeOptimizer(self.optimizers)

    @property
    def supports_groups(self) -> bool:
        return True

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def get_lr(self) -> float:
        """Learning rate of the group `default`, or of the first."""
        return self.optimizers.get("default", next(iter(self.optimizers.values()))).get_lr()

    def state_dict(self) -> dict[str, Any]:
        """The states by group."""
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Optional[dict[str, Any]] = None) -> None:
        """Restore a state by group. Raises as `FairseqOptimizer`, and ConfigError for other groups."""
        if state_dict.keys() != self.optimizers.keys():
            raise ConfigError(
                f"the checkpoint has optimizer states of {sorted(state_dict)}, and the model groups of"
                f" {sorted(self.optimizers)}; set checkpoint.reset_optimizer=true to start them from scratch"
            )
        for name, state in state_dict.items():
            self.optimizers[name].load_state_dict(state, optimizer_overrides)


def _built(name: str, cfg: Any, params: list[Any]) -> tuple[FairseqOptimizer, FairseqLRScheduler]:
    """Optimizer and schedule of one group."""
    given = as_mapping(cfg.groups[name], where=f"optimizer.groups.{name}")
    parts = []
    for slot in ("optimizer", "lr_scheduler"):
        if given.get(slot) is None:
            raise ConfigError(f"optimizer.groups.{name}.{slot} is missing: choose one by {slot}: {{_name: NAME}}")
        part = dict(as_mapping(given[slot], where=f"optimizer.groups.{name}.{slot}"))
        if given.get("lr_float") is not None:
            part["lr"] = [given["lr_float"]]
        elif "lr" not in part:  # else its own
            part["lr"] = list(given.get("lr") or cfg.lr)
        parts.append(part)
    optimizer = optim.build_optimizer(parts[0], params)
    return optimizer, build_lr_scheduler(parts[1], optimizer)


class CompositeOptimizer(LightOptimizer):
    """The torch optimizer that stands for several."""

    def __init__(self, optimizers: dict[str, FairseqOptimizer]):
        # torch's constructor would take the parameters of all as one group
        self.optimizers = optimizers
        self.defaults: dict[str, Any] = {}
        self.state: Any = {}

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    @property
    def supports_memory_efficient_fp16(self) -> bool:
        return all(optimizer.supports_memory_efficient_fp16 for optimizer in self.optimizers.values())

    @property
    def supports_flat_params(self) -> bool:
        return all(optimizer.supports_flat_params for optimizer in self.optimizers.values())

    def step(self, closure: Optional[Callable] = None, groups: Any = None) -> Any:  # type: ignore[override]
        """One update of all groups, or of those in `groups`."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for name, optimizer in self.optimizers.items():
            if groups is None or name in groups:
                optimizer.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()


class CompositeLRScheduler(FairseqLRScheduler):
    """The schedules of all groups."""

    def __init__(self, lr_schedulers: dict[str, FairseqLRScheduler]):
        super().__init__(None, next(iter(lr_schedulers.values())).optimizer)
        self.lr_schedulers = lr_schedulers

    def state_dict(self) -> dict[str, Any]:
        return {name: schedule.state_dict() for name, schedule in self.lr_schedulers.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, state in state_dict.items():
            self.lr_schedulers[name].load_state_dict(state)

    def step_begin_epoch(self, epoch: int) -> None:
        for schedule in self.lr_schedulers.values():
            schedule.step_begin_epoch(epoch)

    def step(self, epoch: int, val_loss: Optional[float] = None) -> None:
        for schedule in self.lr_schedulers.values():
            schedule.step(epoch, val_loss)

    def step_update(self, num_updates: int) -> dict[str, float]:  # type: ignore[override]
        """The rates by group."""
        return {name: schedule.step_update(num_updates) for name, schedule in self.lr_schedulers.items()}
