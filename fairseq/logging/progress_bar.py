"""Progress bars: they iterate for the training loop and print what it reports, in fairseq's line layouts.

    bar = progress_bar(batches, log_format="json", log_interval=100, epoch=1)
    for batch in bar:
        bar.log(stats, tag="train_inner", step=num_updates)     # every log_interval steps
    bar.print(stats, tag="train", step=num_updates)             # the epoch's line

    simple  epoch 001:    100 / 156 loss=0.69, lr=2e-05          epoch 001 | loss 0.65 | lr 2e-05
    json    {"epoch": 1, "update": 0.641, "loss": "0.69", ...}   {"epoch": 1, "train_loss": "0.65", ...}
    tqdm    a bar with time left on stderr                       as simple; short in an interactive terminal
    none    nothing

Scripts read these lines: the logger carries the tag as its name, values are strings, keys of a `print` line start
with the tag.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, Optional

from fairseq.errors import ConfigError, unknown
from fairseq.logging import trackers
from fairseq.logging.bars import BaseProgressBar, format_stat, logger, rename_logger
from fairseq.logging.run_bar import RunBar
from fairseq.logging.side_outputs import LogFile
from fairseq.logging.terminal import lines_above_bars, result_line
from fairseq.logging.trackers import TensorboardProgressBarWrapper, WandBProgressBarWrapper

__all__ = [
    "FORMATS",
    "BaseProgressBar",
    "JsonProgressBar",
    "NoopProgressBar",
    "SimpleProgressBar",
    "TensorboardProgressBarWrapper",
    "TqdmProgressBar",
    "WandBProgressBarWrapper",
    "build_progress_bar",
    "format_for",
    "format_stat",
    "logger",
    "progress_bar",
    "rename_logger",
]


class _IntervalBar(BaseProgressBar):
    """A bar that prints every `log_interval` steps; None for never."""

    def __init__(
        self,
        iterable: Any,
        epoch: Optional[int] = None,
        prefix: Optional[str] = None,
        log_interval: Optional[int] = 1000,
    ):
        super().__init__(iterable, epoch, prefix)
        self.log_interval = log_interval

    def _due(self, step: Optional[int]) -> bool:
        step = step or self.i
        return step > 0 and self.log_interval is not None and step % self.log_interval == 0


class JsonProgressBar(_IntervalBar):
    """One JSON object per line; `update` is the position in epochs."""

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        if self._due(step):
            place: dict[str, Any] = {}
            if self.epoch is not None:
                place = {"epoch": self.epoch, "update": round(self.epoch - 1 + (self.i + 1) / self.size, 3)}
            self._emit(json.dumps({**place, **{key: format_stat(value) for key, value in stats.items()}}), tag)

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        place = {} if self.epoch is None else {"epoch": self.epoch}
        prefix = "" if tag is None else f"{tag}_"
        self._emit(json.dumps({**place, **{prefix + key: format_stat(value) for key, value in stats.items()}}), tag)


class SimpleProgressBar(_IntervalBar):
    """Lines of text, for terminals without a bar and for log files."""

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        if self._due(step):
            self._emit(f"{self.prefix}:  {self.i + 1:5d} / {self.size:d} {self._str_commas(stats)}", tag)

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        self._emit(f"{self.prefix} | {self._str_pipes(stats)}", tag)


class NoopProgressBar(BaseProgressBar):
    """Prints nothing."""

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        pass

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        pass


class TqdmProgressBar(BaseProgressBar):
    """A bar on stderr, with time left, and one line per epoch.

    With a `run_bar`, the bar is that of the whole run: an epoch moves it on and shows its numbers there, a validation
    is a remark in it. Without one, the bar is of this pass alone.
    """

    def __init__(
        self,
        iterable: Any,
        epoch: Optional[int] = None,
        prefix: Optional[str] = None,
        run_bar: Optional[RunBar] = None,
    ):
        super().__init__(iterable, epoch, prefix)
        self.run_bar = run_bar
        self.remark = prefix  # None for training
        self.tqdm: Any = None
        if run_bar is None:
            from tqdm import tqdm

            self.tqdm = tqdm(
                iterable,
                self.prefix,
                initial=self.n,
                leave=False,
                dynamic_ncols=True,
                disable=logger.getEffectiveLevel() > logging.INFO,
            )

    def __iter__(self) -> Iterator[Any]:
        if self.run_bar is not None:
            for i, item in enumerate(self.iterable, start=self.n):
                self.i = i
                if self.remark is not None:
                    self.run_bar.remark(f"{self.remark}: batch {i + 1} of {self.size}")
                yield item
            return
        with lines_above_bars():
            for i, item in enumerate(self.tqdm, start=self.n):
                self.i = i
                yield item

    def show(self, stats: Callable[[], dict[str, Any]], step: int) -> None:
        if self.run_bar is not None:
            self.run_bar.show(stats, step, self.epoch)

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        if self.run_bar is None:
            self.tqdm.set_postfix(self._format_stats(stats), refresh=False)

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        formatted = self._format_stats(stats)
        place = f"{self.prefix}:" if self.epoch is None else f"epoch {self.epoch} @ {step}  {tag or 'result':<6}"
        self._emit(
            f"{self.prefix} | {self._str_pipes(stats)}", tag, result_line(place, formatted, whole=self.epoch is None)
        )
        if self.run_bar is not None and self.remark is not None:
            self.run_bar.validated(tag or "valid", formatted)


FORMATS = ("json", "none", "simple", "tqdm")


def format_for(log_format: Optional[str], default: str = "tqdm") -> str:
    """The format that a bar gets: `log_format`, else `default`; simple in place of tqdm where stderr is no terminal.

    Raises:
        ConfigError: an unknown format.
    """
    name = str(log_format or default)
    if name not in FORMATS:
        raise ConfigError(unknown("log format", name, FORMATS, where="common.log_format"))
    return "simple" if name == "tqdm" and not sys.stderr.isatty() else name


def progress_bar(
    iterator: Any,
    log_format: Optional[str] = None,
    log_interval: Optional[int] = 100,
    log_file: Optional[str] = None,
    epoch: Optional[int] = None,
    prefix: Optional[str] = None,
    aim_repo: Optional[str] = None,
    aim_run_hash: Optional[str] = None,
    aim_param_checkpoint_dir: Optional[str] = None,
    tensorboard_logdir: Optional[str] = None,
    default_log_format: str = "tqdm",
    wandb_project: Optional[str] = None,
    wandb_run_name: Optional[str] = None,
    azureml_logging: Optional[bool] = False,
    run_bar: Optional[RunBar] = None,
) -> BaseProgressBar:
    """The bar for one pass over `iterator`.

    Args:
        log_format: one of `FORMATS`, None for `default_log_format`; tqdm falls back to simple where stderr is no
            terminal.
        log_interval: steps between two lines.
        log_file: a file that receives the lines too.
        epoch, prefix: what the lines start with.
        tensorboard_logdir, wandb_project, wandb_run_name: send the statistics to TensorBoard or wandb as well.
        aim_repo, azureml_logging: accepted for fairseq's configs, without effect; one warning says so.
        run_bar: the bar of the whole run, for the format tqdm.

    Raises:
        ConfigError: an unknown format, or an interval below 1.
    """
    if log_interval is not None and log_interval < 1:
        raise ConfigError(f"common.log_interval={log_interval}: must be at least 1")
    log_format = format_for(log_format, default_log_format)
    if log_file is not None:
        _also_write_to(log_file)

    bar: BaseProgressBar
    if log_format == "json":
        bar = JsonProgressBar(iterator, epoch, prefix, log_interval)
    elif log_format == "simple":
        bar = SimpleProgressBar(iterator, epoch, prefix, log_interval)
    elif log_format == "tqdm":
        bar = TqdmProgressBar(iterator, epoch, prefix, run_bar)
    else:
        bar = NoopProgressBar(iterator, epoch, prefix)

    if tensorboard_logdir or wandb_project or aim_repo or azureml_logging:
        bar = trackers.wrap(bar, tensorboard_logdir, wandb_project, wandb_run_name, aim_repo, bool(azureml_logging))
    return bar


def _close_writers() -> None:
    """fairseq's hook at exit. Nothing to do: writers are closed with their bars."""


def build_progress_bar(
    args: Any,
    iterator: Any,
    epoch: Optional[int] = None,
    prefix: Optional[str] = None,
    default: str = "tqdm",
    no_progress_bar: str = "none",
) -> BaseProgressBar:
    """`progress_bar` for plugins that hold an argparse namespace; `args.no_progress_bar` selects that format."""
    master = getattr(args, "distributed_rank", 0) == 0
    return progress_bar(
        iterator,
        log_format=args.log_format,
        log_interval=args.log_interval,
        epoch=epoch,
        prefix=prefix,
        tensorboard_logdir=getattr(args, "tensorboard_logdir", None) if master else None,
        default_log_format=no_progress_bar if getattr(args, "no_progress_bar", False) else default,
        wandb_project=getattr(args, "wandb_project", None) if master else None,
    )


def _also_write_to(path: str) -> None:
    """Send this module's lines to `path` too. A bar is made for every epoch, so a file that is attached already is
    left alone.
    """
    handler = LogFile(path)
    attached = (getattr(other, "baseFilename", None) for other in logger.handlers)
    if handler.baseFilename not in attached:
        logger.addHandler(handler)
