"""What every progress bar is: `BaseProgressBar`, and how statistics are written.

    class Mine(BaseProgressBar):
        def log(self, stats, tag=None, step=None): ...      # intermediate statistics
        def print(self, stats, tag=None, step=None): ...    # those of an epoch

The bars themselves are in `fairseq.logging.progress_bar`, experiment trackers around them in
`fairseq.logging.trackers`.

>>> import torch
>>> format_stat(1e-9), format_stat(3.0), format_stat(torch.tensor([1.0, 2.0]))
('1e-09', '3', [1.0, 2.0])
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any, Optional

from fairseq.logging.meters import AverageMeter, StopwatchMeter, TimeMeter

logger = logging.getLogger("fairseq.logging.progress_bar")  # fairseq's name for the logger of all bars


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
    """Iterates over `iterable` and knows how far it is. `iterable.n`, if there is one, is where a resumed epoch
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

    def show(self, stats: Callable[[], dict[str, Any]], step: int) -> None:
        """Update `step` is done and `stats()` gives the numbers since the last line; for bars that show them live."""

    def _emit(self, line: str, tag: Optional[str], terminal: Optional[str] = None) -> None:
        """Log `line`; on an interactive terminal `terminal`, where given, is shown in its place."""
        with rename_logger(logger, tag):
            logger.info(line, extra={} if terminal is None else {"terminal": terminal})

    def _format_stats(self, stats: dict[str, Any]) -> dict[str, str]:
        return {key: str(format_stat(value)).strip() for key, value in stats.items()}

    def _str_commas(self, stats: dict[str, Any]) -> str:
        return ", ".join(f"{key}={value}" for key, value in self._format_stats(stats).items())

    def _str_pipes(self, stats: dict[str, Any]) -> str:
        return " | ".join(f"{key} {value}" for key, value in self._format_stats(stats).items())
