"""How far a job is, on stderr, once it has taken two seconds: count, rate and time left.

    for batch in track(batches, "measuring ranges", unit="batch"):
        ...
    with JobProgress("encoding", total=67349, unit="sentence") as progress:
        progress.advance(4096)

A terminal gets a bar that is gone at the end. A pipe or file gets a line each ten seconds:

    encoding: 81920 of 250000 sentences, 8071/s, 20 s left
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Optional, TypeVar

T = TypeVar("T")
DELAY = 2.0  # seconds before a terminal shows anything
INTERVAL = 10.0  # seconds between lines elsewhere


class JobProgress:
    """A context manager around a job; see the head of this file.

    Args:
        what: the job, a word or two.
        total: units in all; None if that is unknown.
        unit: what is counted, in the singular.
        stream: default stderr as it is when the job begins.
        done: units that an earlier attempt has done.
    """

    def __init__(self, what: str, total: Optional[int] = None, unit: str = "step", stream: Any = None, done: int = 0):
        self.what, self.total, self.unit = what, total, unit
        self.stream = sys.stderr if stream is None else stream
        self.done = self._first = done
        self._start = time.monotonic()
        self._next_line = self._start + INTERVAL
        self._bar: Any = None
        if self.stream is not None and self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc=what, unit=f" {unit}", unit_scale=unit == "B", file=self.stream,
                delay=DELAY, mininterval=0.2, leave=False, dynamic_ncols=True,
            )  # fmt: skip

    def __enter__(self) -> "JobProgress":
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self.stream is not None and (now := time.monotonic()) >= self._next_line:
            self._next_line = now + INTERVAL
            print(self.line(now - self._start), file=self.stream, flush=True)

    def through(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each of which counts as one unit once it is done with."""
        for item in items:
            yield item
            self.advance()

    def line(self, seconds: float) -> str:
        """What a pipe is told after so many seconds.

        >>> JobProgress("encoding", total=10, unit="line").line(2.0)
        'encoding: 0 of 10 lines'
        """
        of = "" if self.total is None else f" of {self.total}"
        line = f"{self.what}: {self.done}{of} {_plural(self.unit)}"
        rate = (self.done - self._first) / max(seconds, 1e-9)
        if not rate:
            return line
        line += f", {rate:.3g}/s" if rate < 100 else f", {rate:.0f}/s"
        left = "" if self.total is None else f", {max(self.total - self.done, 0) / rate:.0f} s left"
        return line + left


def track(items: Iterable[T], what: str, total: Optional[int] = None, unit: str = "step") -> Iterator[T]:
    """The items, counted as they are done with."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with JobProgress(what, total, unit) as progress:
        yield from progress.through(items)


def _plural(unit: str) -> str:
    return f"{unit}es" if unit.endswith(("ch", "s")) else unit if unit == "B" else f"{unit}s"
