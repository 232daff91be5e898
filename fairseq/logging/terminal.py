"""What a run says on an interactive terminal: short lines above the progress bar.

    with session(cfg.common):                   # around a run: console handlers of the root logger write short lines
        logger.info(model, extra={"terminal": "a summary"})     # files and pipes get the first, a terminal the second

Only a person who watches gets these lines, that is where the bar is shown (`log_format=tqdm`, stdout and stderr both a
terminal). Log files, pipes and the other formats get fairseq's lines unchanged. A record's attribute `terminal` is the
text to show in its place (or a function that makes it); an empty one shows nothing.

>>> fit({"loss": "0.512", "accuracy": "71.9", "wps": "8012.3", "lr": "0.001", "num_bits": "6"}, width=44)
'loss 0.512  accuracy 71.9  lr 0.001  bits 6'
"""

import contextlib
import logging
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Optional

# of fairseq's lines, those that say what the bar or the lines of results show anyway, by their beginning
REPEATED = (
    "Finished saving checkpoint",
    "No existing checkpoint found",
    "Preparing to load checkpoint",
    "Preparing to save checkpoint",
    "Saving checkpoint to",
    "Start iterating over samples",
    "begin dry-run validation",
    "begin training epoch",
    "begin validation on",
    "criterion: ",
    "end of epoch",
    "loaded ",
    "loading train data",
    "max tokens per device",
    "model: ",
    "num. shared model params",
    "task: ",
)

# what is shown of statistics while there is room: first these, then what the task reports, then the rest
FIRST = ("loss",)
ALWAYS = ("lr", "num_bits")
LAST = (
    *("gnorm", "ups", "wps", "nll_loss", "ppl", "wpb", "bsz", "clip", "loss_scale", "train_wall", "wall", "gb_free"),
    *("bitops", "num_updates"),
)
SHORT_NAMES = {"num_bits": "bits"}


def columns() -> int:
    """Width of the terminal in characters."""
    return shutil.get_terminal_size().columns


def fit(stats: Mapping[str, str], width: int) -> str:
    """The most important of `stats` (name -> number as text) that fit into `width` characters."""
    own = [key for key in stats if key not in (*FIRST, *ALWAYS, *LAST)]
    by_importance = [key for key in (*FIRST, *ALWAYS, *own, *LAST) if key in stats]
    chosen: set[str] = set()
    room = width + 2
    for key in by_importance:
        length = len(_short(key, stats[key])) + 2
        if length > room:
            break
        room -= length
        chosen.add(key)
    return "  ".join(_short(key, stats[key]) for key in (*FIRST, *own, *ALWAYS, *LAST) if key in chosen)


def _short(key: str, number: str) -> str:
    if key == "lr":
        number = f"{float(number):.3g}"
    return f"{SHORT_NAMES.get(key, key)} {number}"


def result_line(place: str, stats: Mapping[str, str], whole: bool = False) -> str:
    """`place` and behind it what fits of `stats` into one line of the terminal, or the `whole` of it."""
    room = sys.maxsize if whole else columns() - len(place) - 12
    return f"{place}  {fit(stats, room)}"


class ShortFormatter(logging.Formatter):
    """`10:13:58 text`: wrapped at words, warnings named as such, and nothing for lines that the bar repeats."""

    def format(self, record: logging.LogRecord) -> str:
        short = getattr(record, "terminal", None)
        text = short() if callable(short) else record.getMessage() if short is None else short
        if short is None and record.levelno <= logging.INFO and text.startswith(REPEATED):
            return ""
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if not text:
            return ""
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        start = f"{self.formatTime(record, '%H:%M:%S')} {level}"
        first, *rest = text.splitlines()
        return "\n".join([_wrapped(start + first, 9), *(_wrapped(line) for line in rest)])


def _wrapped(line: str, indent: int = 0) -> str:
    """`line` over several lines, broken between words, where the terminal is narrower."""
    if len(line) <= columns():
        return line
    indent = indent or len(line) - len(line.lstrip()) + 4
    return textwrap.fill(
        line, columns(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


class LinesAboveBars(logging.StreamHandler):
    """Writes to `stream` so that progress bars stay below the line."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            text = self.format(record)
            if text:
                tqdm.write(text, file=self.stream)
                self.flush()
        except Exception:  # as every handler does: a line that cannot be written does not end the run
            self.handleError(record)


def is_interactive(log_format: str) -> bool:
    """Whether a person watches a bar: the format of `progress_bar.format_for` is tqdm and stdout is a terminal too."""
    return log_format == "tqdm" and sys.stdout.isatty()


@contextlib.contextmanager
def session(interactive: bool) -> Iterator[None]:
    """Short lines on the console for the length of a `with` block, if `interactive`."""
    with _replaced(ShortFormatter() if interactive else None) if interactive else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def lines_above_bars() -> Iterator[None]:
    """Log lines, as they are formatted, above the bars that are shown in a `with` block."""
    with _replaced(None):
        yield


@contextlib.contextmanager
def _replaced(formatter: Optional[logging.Formatter]) -> Iterator[None]:
    """The root logger's console handlers replaced by `LinesAboveBars`; `formatter` None keeps theirs."""
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [_above_bars(handler, formatter) for handler in before]
    try:
        yield
    finally:
        root.handlers[:] = before


def _above_bars(handler: Any, formatter: Optional[logging.Formatter]) -> Any:
    if type(handler) is not logging.StreamHandler or handler.stream not in (sys.stdout, sys.stderr):
        return handler
    replacement = LinesAboveBars(handler.stream)
    replacement.setLevel(handler.level)
    replacement.setFormatter(formatter or handler.formatter)
    for each in handler.filters:
        replacement.addFilter(each)
    return replacement
