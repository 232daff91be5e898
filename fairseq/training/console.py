"""What a run shows on an interactive terminal: short lines instead of pages, and one bar for the whole run.

    with short_lines(cfg):
        logger.info(cfg, extra={"terminal": lambda: changed_settings(cfg)})
        with run_bar(cfg, num_updates, batches_per_epoch) as bar: ...

Pipes, files and the other formats see none of it; see `fairseq.logging.terminal`.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf
from torch import nn

from fairseq.dataclass import schema
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import progress_bar, terminal
from fairseq.logging.run_bar import RunBar
from fairseq.training.quantized import planned_updates
from fairseq.training.trainable import Trainable

logger = logging.getLogger("fairseq_cli.train")


def log_format(cfg: Any) -> str:
    """The format of this process's progress bars; without being asked, only the first process shows a bar."""
    bar = not cfg.common.no_progress_bar and distributed_utils.is_master(cfg.distributed_training)
    return progress_bar.format_for(cfg.common.log_format, "tqdm" if bar else "simple")


def short_lines(cfg: Any) -> contextlib.AbstractContextManager:
    """Around a run: the console gets short lines, if a person watches it."""
    return terminal.session(terminal.is_interactive(log_format(cfg)))


@contextlib.contextmanager
def run_bar(cfg: Any, num_updates: int, batches_per_epoch: int) -> Iterator[Optional[RunBar]]:
    """The bar of the run where bars are shown, else None.

    Args:
        num_updates: those done before.
        batches_per_epoch: of this process.
    """
    if log_format(cfg) != "tqdm" or not logger.isEnabledFor(logging.INFO):
        yield None
        return
    optimization = cfg.optimization
    total = planned_updates(optimization, batches_per_epoch)
    metric = cfg.checkpoint.best_checkpoint_metric
    with RunBar(total, num_updates, optimization.max_epoch or 0, metric) as bar:
        yield bar


def changed_settings(cfg: Any) -> str:
    """The settings that differ from their defaults, one group a line."""
    lines = []
    for group in schema.GROUPS:
        changes = _changes(cfg, cfg[group], schema.GROUPS[group])
        if changes:
            lines.append(f"  {group}: {', '.join(changes)}")
    for slot in schema.SLOTS:
        node = cfg.get(slot)
        name = node.get("_name") if isinstance(node, DictConfig) else None
        if name is not None:
            dataclass = schema.dataclass_of(slot, name)
            changes = _changes(cfg, node, dataclass) if dataclass is not None else []
            lines.append(f"  {slot}={name}{': ' if changes else ''}{', '.join(changes)}")
    return "\n".join(["settings that differ from their defaults", *lines])


def _changes(cfg: Any, node: Any, dataclass: type, prefix: str = "") -> list[str]:
    """`key=value` of each key of `node`, a part of `cfg`, whose value is not the default of `dataclass`."""
    changes = []
    default = OmegaConf.structured(dataclass())
    for key, declared in schema.keys_of(dataclass).items():
        if key not in node or OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if isinstance(declared.type, type) and is_dataclass(declared.type):
            changes += _changes(cfg, value, declared.type, f"{prefix}{key}.")
        elif value != _usual(cfg, node, default, key):
            changes.append(f"{prefix}{key}={value}")
    return changes


def _usual(cfg: Any, node: Any, default: DictConfig, key: str) -> Any:
    """The default of `key`; that of a key that follows another one is the other one's value."""
    if OmegaConf.is_missing(default, key):
        return None
    if not OmegaConf.is_interpolation(default, key):
        return default[key]
    followed = str(default._get_node(key)._value())[2:-1]  # type: ignore[union-attr]  # "${.max_positions}"
    return node[followed[1:]] if followed.startswith(".") else OmegaConf.select(cfg, followed)


def model_summary(task: Any, model: nn.Module, criterion: nn.Module, trainable: Trainable) -> str:
    """The model's parts by number of parameters, stacks of equal layers as one."""
    trained = "all" if trainable.trained == trainable.total else f"{trainable.trained:,}"
    names = [type(part).__name__ for part in (model, task, criterion)]
    lines = [f"{names[0]} for {names[1]} with {names[2]}: {trainable.total:,} parameters, {trained} trained"]
    seen: set[int] = set()
    for path, kind, part in _parts(model, ""):
        own = [parameter for parameter in part.parameters() if id(parameter) not in seen]
        seen.update(map(id, own))
        if own:
            lines.append(f"  {sum(parameter.numel() for parameter in own):>11,}  {path}{kind}")
    return "\n".join(lines)


def _parts(module: nn.Module, path: str) -> Iterator[tuple[str, str, nn.Module]]:
    """Path, kind and module of what is worth a line: modules that hold a stack of layers are opened, others are not."""
    for name, child in module.named_children():
        where = f"{path}.{name}" if path else name
        layers = list(child.children())
        if isinstance(child, nn.ModuleList) and len({type(layer) for layer in layers}) == 1:
            numbers = "0" if len(layers) == 1 else f"0-{len(layers) - 1}"
            yield f"{where}.{numbers}", f"  {len(layers)} x {type(layers[0]).__name__}", child
        elif any(isinstance(inner, (nn.ModuleList, nn.ModuleDict)) for inner in child.modules()):
            yield from _parts(child, where)
        else:
            yield where, "", child
