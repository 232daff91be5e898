"""Tasks: `setup_task(cfg.task)` and `@register_task("name", dataclass=...)`.

A task loads data, builds model and criterion for it, and says what one training or validation step does. Built-in
tasks are imported when their name is first looked up.

>>> "sentence_prediction" in TASK_REGISTRY
True
"""

import importlib
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf

from fairseq.dataclass import FairseqDataclass, catalog
from fairseq.dataclass.typed import typed_node
from fairseq.dataclass.utils import merge_with_parent
from fairseq.errors import ConfigError, unknown
from fairseq.registry import Registry
from fairseq.tasks.fairseq_task import FairseqTask, LegacyFairseqTask
from fairseq.tasks.stateful_container import StatefulContainer

__all__ = [
    "TASK_CLASS_NAMES",
    "TASK_DATACLASS_REGISTRY",
    "TASK_REGISTRY",
    "FairseqDataclass",
    "FairseqTask",
    "LegacyFairseqTask",
    "StatefulContainer",
    "get_task",
    "import_tasks",
    "merge_with_parent",
    "register_task",
    "setup_task",
    "tasks_dir",
]

TASK_REGISTRY = Registry("task", catalog.modules("task"))
TASK_DATACLASS_REGISTRY = catalog.group("task")
TASK_CLASS_NAMES: set[str] = set()

tasks_dir = os.path.dirname(__file__)


def import_tasks(tasks_dir: str, namespace: str) -> None:
    """Import every module of a plugin's folder, as package `namespace`, so that its tasks are registered."""
    for name in sorted(os.listdir(tasks_dir)):
        path = os.path.join(tasks_dir, name)
        if not name.startswith(("_", ".")) and (name.endswith(".py") or os.path.isdir(path)):
            importlib.import_module(f"{namespace}.{name.removesuffix('.py')}")


def setup_task(
    cfg: Any, from_checkpoint: bool = False, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
) -> FairseqTask:
    """The task that `cfg` names, with its dictionaries loaded.

    Args:
        cfg: config node, dataclass, mapping or namespace; `_name` (in a namespace `task`) names the task.
        from_checkpoint: `cfg` was read from a checkpoint: unknown keys are ignored.
        task_state: `checkpoint["task_state"]`; tasks that can, take from it what their data folder would give.
        kwargs: handed to the task's `setup_task`.

    Raises:
        ConfigError: no such task. DataError: no data where `cfg` says.
    """
    name = _name_of(cfg)
    if name is None:
        raise ConfigError(f"no task is chosen; give task=NAME: {', '.join(TASK_REGISTRY)}")
    cls = TASK_REGISTRY.lookup(name)
    dataclass = TASK_DATACLASS_REGISTRY.get(name)
    if dataclass is not None:
        cfg = _typed(cfg, dataclass, name, from_checkpoint)
    if task_state is not None and cls.takes_task_state:
        kwargs["task_state"] = task_state
    return cls.setup_task(cfg, **kwargs)


def _name_of(cfg: Any) -> Optional[str]:
    if isinstance(cfg, Namespace):
        return getattr(cfg, "task", None) or getattr(cfg, "_name", None)
    return cfg.get("_name") if hasattr(cfg, "get") else cfg._name


def _typed(cfg: Any, dataclass: type, name: str, from_checkpoint: bool) -> DictConfig:
    """`cfg` as a node of `dataclass`; a node of it is returned unchanged, and nodes keep their root."""
    if isinstance(cfg, Namespace):  # all flags of a command line; the task's are among them
        return typed_node(dataclass, vars(cfg), where="task", name=name, unknown_keys="drop")
    if isinstance(cfg, DictConfig) and is_dataclass(OmegaConf.get_type(cfg)):
        return cfg
    node = typed_node(dataclass, cfg, where="task", name=name, unknown_keys="drop" if from_checkpoint else "error")
    if isinstance(cfg, DictConfig):
        node._set_parent(cfg._get_parent())
    return node


def register_task(name: str, dataclass: Optional[type] = None) -> Callable[[type], type]:
    """Class decorator: make a FairseqTask available as `name`; a name that is taken keeps its first class."""

    def decorate(cls: type) -> type:
        if (name in TASK_REGISTRY and catalog.modules("task").get(name) != cls.__module__) or TASK_REGISTRY.registered(
            name
        ):
            return TASK_REGISTRY[name]
        if not issubclass(cls, FairseqTask):
            raise ValueError(f"task {name!r} ({cls.__name__}) must extend FairseqTask")
        if cls.__name__ in TASK_CLASS_NAMES:
            raise ValueError(f"task {name!r}: a task class named {cls.__name__} is registered already")
        TASK_REGISTRY[name] = cls
        TASK_CLASS_NAMES.add(cls.__name__)
        cls.__dataclass = dataclass  # type: ignore[attr-defined]
        if dataclass is not None:
            catalog.register("task", name, dataclass)
        return cls

    return decorate


def get_task(name: str) -> type[FairseqTask]:
    """The class of task `name`."""
    if name not in TASK_REGISTRY:
        raise ConfigError(unknown("task", name, TASK_REGISTRY))
    return TASK_REGISTRY[name]
