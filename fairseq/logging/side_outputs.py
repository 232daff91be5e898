"""Outputs next to the checkpoints: when one of them cannot be written, one warning says so and training continues.

    history = SideOutput("history.jsonl")
    with history.attempt():
        write(line)                 # an exception becomes one warning, those after it nothing

History, quantization plan, log files and trackers are side outputs. Checkpoints are not: without them a run is lost.

>>> output = SideOutput("history.jsonl", "curves will lack updates")
>>> for _ in range(2):
...     with output.attempt():
...         raise OSError(28, "No space left on device")
>>> output.failed
True
"""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from fairseq.errors import reason

logger = logging.getLogger(__name__)


class SideOutput:
    """One output of a run.

    Args:
        name: what the warning calls it, for example its path.
        consequence: what the user loses.
    """

    def __init__(self, name: str, consequence: str = "it will lack what is reported from here on"):
        self.name, self.consequence = name, consequence
        self.failed = False

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one write: an exception ends the block and is reported, the first time."""
        try:
            yield
        except Exception as error:  # trackers raise whatever they like
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report that a write failed, unless an earlier one did."""
        if self.failed:
            return
        self.failed = True
        logger.warning(f"cannot write {self.name} ({reason(error)}): {self.consequence}; training continues")


class LogFile(logging.FileHandler):
    """A log file whose failures are reported once, also those of opening it."""

    def __init__(self, path: str):
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        report_once(self)

    def _open(self) -> TextIO:  # type: ignore[override]
        """Without a buffer: what logs while a signal interrupts the writing of a line may not find one half filled."""
        raw = open(self.baseFilename, "ab", buffering=0)  # noqa: SIM115 - closed with the handler
        return io.TextIOWrapper(raw, self.encoding, self.errors, write_through=True)  # type: ignore[arg-type]

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it cannot be opened
            self.handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # every line is flushed: what fails here has been reported
            super().close()


def report_once(handler: logging.Handler) -> None:
    """Let `handler` report its first failure by a warning; by default logging prints a traceback for each line."""
    stream = getattr(handler, "stream", None)
    name = getattr(handler, "baseFilename", None) or getattr(stream, "name", None) or type(handler).__name__
    output = SideOutput(f"the log {name}", "lines may be missing in it")

    def handle_error(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, RuntimeError) and "reentrant" in str(error) and stream is not None:
            # logged while a signal interrupts the writing of another line, whose buffer cannot take it
            with contextlib.suppress(OSError, ValueError):
                os.write(stream.fileno(), f"{handler.format(record)}\n".encode(errors="backslashreplace"))
            return
        if error is None or output.failed:
            return
        if not isinstance(error, OSError):  # a mistake in the call, which a developer must see
            return logging.Handler.handleError(handler, record)
        output.fail(error)
        if stream in (sys.stdout, sys.__stdout__):  # the warning would not be seen there
            print(f"warning: cannot write {output.name} ({reason(error)})", file=sys.stderr, flush=True)

    handler.handleError = handle_error  # type: ignore[method-assign]


def report_all_once(handlers: Iterable[logging.Handler]) -> None:
    """`report_once` for the handlers that write to files or streams."""
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler) and "handleError" not in vars(handler):
            report_once(handler)
