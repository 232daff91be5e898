"""Progress bars: they iterate for the training loop and print what it reports, in fairseq's line layouts.

    bar = progress_bar(batches, log_format="json", log_interval=100, epoch=1)
    for batch in bar:
        bar.log(stats, tag="train_inner", step=num_updates)     # every log_interval steps
    bar.print(stats, tag="train", step=num_updates)             # the epoch's line

    simple  epoch 001:    100 / 156 loss=0.69, lr=2e-05          epoch 001 | loss 0.65 | lr 2e-05
    json    {"epoch": 1, "update": 0.641, "loss": "0.69", ...}   {"epoch": 1, "train_loss": "0.65", ...}
    tqdm    a bar with time left on stderr                       as simple
    none    nothing

Scripts read these lines: the logger carries the tag as its name, values are strings, keys of a `print` line start
with the tag.

>>> import torch
>>> format_stat(1e-9), format_stat(3.0), format_stat(torch.tensor([1.0, 2.0]))
('1e-09', '3', [1.0, 2.0])
"""

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from numbers import Number
from typing import Any, Optional

from fairseq.errors import ConfigError, unknown
from fairseq.logging.meters import AverageMeter, StopwatchMeter, TimeMeter

logger = logging.getLogger(__name__)


def format_stat(stat: Any) -> Any:
    """A statistic as it is printed: numbers and meters as short strings, tensors and arrays as lists, the rest
    unchanged.
    """
    if isinstance(stat, Number):
        return f"{stat:g}"
    if isinstance(stat, AverageMeter):
        return f"{stat.avg:.3f}"
    if isinstance(stat, TimeMeter):
        return f"{round(stat.avg):g}"
    if isinstance(stat, StopwatchMeter):
        return f"{round(stat.sum):g}"
    return stat.tolist() if hasattr(stat, "tolist") else stat


@contextlib.contextmanager
def rename_logger(logger: logging.Logger, new_name: Optional[str]) -> Iterator[logging.Logger]:
    """`logger` under another name, for the length of a `with` block."""
    old_name = logger.name
    logger.name = old_name if new_name is None else new_name
    try:
        yield logger
    finally:
        logger.name = old_name


class BaseProgressBar:
    """Iterates over `iterable` and knows how far it is. `iterable.n`, where there is one, is where a resumed epoch
    starts.
    """

    def __init__(self, iterable: Any, epoch: Optional[int] = None, prefix: Optional[str] = None):
        self.iterable = iterable
        self.n: int = getattr(iterable, "n", 0)
        self.epoch = epoch
        self.prefix = " | ".join(
            ([] if epoch is None else [f"epoch {epoch:03d}"]) + ([] if prefix is None else [prefix])
        )
        self.i = 0  # index of the current item

    def __len__(self) -> int:
        return len(self.iterable)

    @property
    def size(self) -> int:
        """Items in the whole epoch, those before a resume included."""
        return len(self.iterable)

    def __enter__(self) -> "BaseProgressBar":
        return self

    def __exit__(self, *exc: Any) -> Any:
        return False

    def __iter__(self) -> Iterator[Any]:
        for i, item in enumerate(self.iterable, start=self.n):
            self.i = i
            yield item

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        """Report intermediate `stats`; a bar prints them only when `step` (default: items so far) is due."""
        raise NotImplementedError

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        """Report the final `stats` of the epoch."""
        raise NotImplementedError

    def track(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        """Hand statistics to experiment trackers alone: the console shows nothing."""

    def update_config(self, config: dict[str, Any]) -> None:
        """Tell trackers the run's configuration."""

    def _emit(self, line: str, tag: Optional[str]) -> None:
        with rename_logger(logger, tag):
            logger.info(line)

    def _format_stats(self, stats: dict[str, Any]) -> dict[str, str]:
        return {key: str(format_stat(value)).strip() for key, value in stats.items()}

    def _str_commas(self, stats: dict[str, Any]) -> str:
        return ", ".join(f"{key}={value}" for key, value in self._format_stats(stats).items())

    def _str_pipes(self, stats: dict[str, Any]) -> str:
        return " | ".join(f"{key} {value}" for key, value in self._format_stats(stats).items())


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
    """Plain lines, for terminals without a bar and for log files."""

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
    """A bar with rate and time left on stderr, and one line per epoch; log lines meanwhile go above the bar."""

    def __init__(self, iterable: Any, epoch: Optional[int] = None, prefix: Optional[str] = None):
        super().__init__(iterable, epoch, prefix)
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
        from tqdm.contrib.logging import logging_redirect_tqdm

        with logging_redirect_tqdm():
            for i, item in enumerate(self.tqdm, start=self.n):
                self.i = i
                yield item

    def log(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        self.tqdm.set_postfix(self._format_stats(stats), refresh=False)

    def print(self, stats: dict[str, Any], tag: Optional[str] = None, step: Optional[int] = None) -> None:
        self._emit(f"{self.prefix} | {self._str_pipes(stats)}", tag)


FORMATS = ("json", "none", "simple", "tqdm")


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
) -> BaseProgressBar:
    """The bar for one pass over `iterator`.

    Args:
        log_format: one of `FORMATS`, None for `default_log_format`; tqdm falls back to simple where stderr is no
            terminal.
        log_interval: steps between two lines.
        log_file: a file that receives the lines too.
        epoch, prefix: what the lines start with.
        tensorboard_logdir, wandb_project, wandb_run_name: send the statistics to TensorBoard or wandb as well.
        aim_repo, azureml_logging: accepted for fairseq's configs; without effect, which is said once.

    Raises:
        ConfigError: an unknown format, or an interval below 1.
    """
    if log_interval is not None and log_interval < 1:
        raise ConfigError(f"common.log_interval={log_interval}: must be at least 1")
    log_format = str(log_format or default_log_format)
    if log_format not in FORMATS:
        raise ConfigError(unknown("log format", log_format, FORMATS, where="common.log_format"))
    if log_format == "tqdm" and not sys.stderr.isatty():
        log_format = "simple"
    if log_file is not None:
        _also_write_to(log_file)

    bar: BaseProgressBar
    if log_format == "json":
        bar = JsonProgressBar(iterator, epoch, prefix, log_interval)
    elif log_format == "simple":
        bar = SimpleProgressBar(iterator, epoch, prefix, log_interval)
    elif log_format == "tqdm":
        bar = TqdmProgressBar(iterator, epoch, prefix)
    else:
        bar = NoopProgressBar(iterator, epoch, prefix)

    if tensorboard_logdir or wandb_project or aim_repo or azureml_logging:
        from fairseq.logging import trackers

        bar = trackers.wrap(bar, tensorboard_logdir, wandb_project, wandb_run_name, aim_repo, bool(azureml_logging))
    return bar


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
    handler = logging.FileHandler(path, delay=True)
    attached = (getattr(other, "baseFilename", None) for other in logger.handlers)
    if handler.baseFilename not in attached:
        logger.addHandler(handler)


def __getattr__(name: str) -> Any:
    # the tracker wrappers under the names that fairseq gives them here, imported only where they are used
    if name in ("TensorboardProgressBarWrapper", "WandBProgressBarWrapper"):
        from fairseq.logging import trackers

        return getattr(trackers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
