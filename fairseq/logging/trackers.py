"""Experiment trackers around a progress bar: what the loop logs also goes to TensorBoard or wandb.

    bar = wrap(bar, tensorboard_logdir="runs/rte")      # tensorboard --logdir runs/rte

TensorBoard: one run folder per tag (`train_inner`, `train`, `valid`, ...). wandb: keys `tag/name`. A package that is
    not installed is an optional extra: one warning says how to get it, and the run continues without it.
    A tracker that fails is named in one warning and gets no more data.
"""

import atexit
import contextlib
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any, Optional

from torch import Tensor

from fairseq.logging.bars import BaseProgressBar
from fairseq.logging.meters import AverageMeter
from fairseq.logging.side_outputs import SideOutput

logger = logging.getLogger(__name__)


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def wrap(
    bar: BaseProgressBar,
    tensorboard_logdir: Optional[str] = None,
    wandb_project: Optional[str] = None,
    wandb_run_name: Optional[str] = None,
    aim_repo: Optional[str] = None,
    azureml_logging: bool = False,
) -> BaseProgressBar:
    """`bar`, wrapped in the trackers that are requested."""
    if tensorboard_logdir:
        try:
            bar = TensorboardProgressBarWrapper(bar, tensorboard_logdir)
        except ImportError:
            _warn_once("common.tensorboard_logdir has no effect: TensorBoard is missing (pip install tensorboard)")
    if wandb_project:
        try:
            bar = WandBProgressBarWrapper(bar, wandb_project, wandb_run_name)
        except ImportError:
            _warn_once("common.wandb_project has no effect: wandb is missing (pip install wandb)")
    for setting, given in (("aim_repo", aim_repo), ("azureml_logging", azureml_logging)):
        if given:
            _warn_once(f"common.{setting} has no effect here; use common.tensorboard_logdir or common.wandb_project")
    return bar


def scalars(stats: dict[str, Any], step: Optional[int]) -> tuple[dict[str, float], Optional[int]]:
    """The numbers among `stats` and the step they belong to (`step`, else `stats["num_updates"]`)."""
    step = stats.get("num_updates") if step is None else step
    numbers = {}
    for key, value in stats.items():
        value = value.val if isinstance(value, AverageMeter) else value
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, Number) and key != "num_updates":
            numbers[key] = float(value)  # type: ignore[arg-type]
    return numbers, step


class _Wrapper(BaseProgressBar):
    """Forwards to the bar inside; a subclass gives `_track`."""

    def __init__(self, wrapped_bar: BaseProgressBar):
        self.wrapped_bar = wrapped_bar

    def __len__(self) -> int:
        return len(self.wrapped_bar)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.wrapped_bar)

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        self._track(stats, tag, step)
        self.wrapped_bar.log(stats, tag=tag, step=step)

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        self._track(stats, tag, step)
        self.wrapped_bar.print(stats, tag=tag, step=step)

    def track(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        self._track(stats, tag, step)
        self.wrapped_bar.track(stats, tag=tag, step=step)

    def show(self, stats: Callable[[], dict[str, Any]], step: int) -> None:
        self.wrapped_bar.show(stats, step)

    def _track(self, stats: dict[str, Any], tag: Optional[str], step: Optional[int]) -> None:
        raise NotImplementedError


@functools.cache
def _output(name: str) -> SideOutput:
    """The tracker called `name`: every epoch makes a new bar, but one failure is enough."""
    return SideOutput(name, "it gets nothing more")


@functools.cache
def _writer(folder: str) -> Any:
    """The one open writer of `folder`: every epoch makes a new bar, but all of them belong to one run."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder)
    with contextlib.suppress(AttributeError):
        # its thread's error is raised in our calls; the traceback that it prints as well adds nothing
        writer._get_file_writer().event_writer._async_writer._worker._invoke_excepthook = lambda *_: None
    writer.add_text("sys.argv", " ".join(sys.argv))
    atexit.register(_close, writer)
    return writer


def _close(writer: Any) -> None:
    with contextlib.suppress(OSError):  # every call above flushes: what fails here has been reported
        writer.close()


class TensorboardProgressBarWrapper(_Wrapper):
    """Scalars to TensorBoard event files below `tensorboard_logdir`."""

    def __init__(self, wrapped_bar: BaseProgressBar, tensorboard_logdir: str):
        super().__init__(wrapped_bar)
        import tensorboard  # noqa: F401 - a missing package shows here, not at the first statistic

        self.tensorboard_logdir = tensorboard_logdir
        self._output = _output(f"TensorBoard's files in {tensorboard_logdir}")

    def _track(self, stats: dict[str, Any], tag: Optional[str], step: Optional[int]) -> None:
        if self._output.failed:
            return
        with self._output.attempt():
            writer = _writer(os.path.join(self.tensorboard_logdir, tag or ""))
            numbers, step = scalars(stats, step)
            for key, value in numbers.items():
                writer.add_scalar(key, value, step)
            writer.flush()

    def update_config(self, config: dict[str, Any]) -> None:
        if not self._output.failed:
            with self._output.attempt():
                writer = _writer(self.tensorboard_logdir)
                writer.add_text("config", json.dumps(config, indent=2, default=str))
                writer.flush()
        self.wrapped_bar.update_config(config)


class WandBProgressBarWrapper(_Wrapper):
    """Scalars to the wandb run of this process, which the first bar starts."""

    def __init__(self, wrapped_bar: BaseProgressBar, wandb_project: str, run_name: Optional[str] = None):
        super().__init__(wrapped_bar)
        import wandb

        self._wandb = wandb
        self._output = _output(f"wandb's project {wandb_project}")
        if wandb.run is None and not self._output.failed:
            with self._output.attempt():
                wandb.init(project=wandb_project, name=run_name)

    def _track(self, stats: dict[str, Any], tag: Optional[str], step: Optional[int]) -> None:
        if self._output.failed:
            return
        with self._output.attempt():
            numbers, step = scalars(stats, step)
            prefix = "" if tag is None else f"{tag}/"
            self._wandb.log({prefix + key: value for key, value in numbers.items()}, step=step)

    def update_config(self, config: dict[str, Any]) -> None:
        if not self._output.failed:
            with self._output.attempt():
                self._wandb.config.update(config, allow_val_change=True)
        self.wrapped_bar.update_config(config)
