"""What a run shows on an interactive terminal: short lines instead of pages, and one bar for the whole run.

    with short_lines(cfg):
        logger.info(cfg, extra={"terminal": lambda: changed_settings(cfg)})
        with run_bar(cfg, num_updates, batches_per_epoch) as bar: ...

Pipes, files and the other formats see none of it; see `fairseq.logging.terminal`.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Optional

from torch import nn

from fairseq.dataclass import schema
from fairseq.dataclass.changed import changed, component
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
    changes: dict[str, list[str]] = {}
    for change in changed(cfg):
        changes.setdefault(change.place, []).append(f"{change.key}={change.value}")
    lines = ["settings that differ from their defaults"]
    for place in (*schema.GROUPS, *schema.SLOTS):
        name = component(cfg, place) if place in schema.SLOTS else None
        if place in changes or name is not None:
            title = place if name is None else f"{place}={name}"
            lines.append(f"  {': '.join([title, *([', '.join(changes[place])] if place in changes else [])])}")
    return "\n".join(lines)


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
