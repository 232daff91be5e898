"""Preloading in a thread: items are made ahead of time and wait in a queue.

>>> list(BufferedIterator(2, [1, 2, 3]))
[1, 2, 3]
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any, Optional

_POLL_SECONDS = 0.2


class _Producer(threading.Thread):
    """Fills the queue until the source ends, fails, or `stop` is set.

    Entries are `(item, None)` or `(None, exception)`.
    """

    def __init__(self, entries: queue.Queue, source: Any, stop: threading.Event, name: str):
        super().__init__(daemon=True, name=name)
        self.entries, self.source, self.stop_event = entries, source, stop

    def run(self) -> None:
        try:
            for item in self.source:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except Exception as error:  # raised again where the items are used
            self._put((None, error))

    def _put(self, entry: tuple) -> bool:
        while not self.stop_event.is_set():
            try:
                self.entries.put(entry, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False


class BufferedIterator:
    """`iterable`, read at most `size` items ahead."""

    def __init__(self, size: int, iterable: Any):
        self.iterable = iterable
        self.total = len(iterable)
        self._entries: queue.Queue = queue.Queue(size)
        self._stop = threading.Event()
        self._producer: Optional[_Producer] = None
        self._taken = 0
        self.thread_name = f"preload-{id(self):x}"

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self._taken >= self.total:
            self._stop.set()
            raise StopIteration
        if self._producer is None:
            self._producer = _Producer(self._entries, self.iterable, self._stop, self.thread_name)
            self._producer.start()
        item, error = self._entries.get()
        if error is not None:
            raise error
        self._taken += 1
        return item

    def take(self, n: int) -> "BufferedIterator":
        """Stop after `n` items."""
        self.total = min(self.total, n)
        return self

    def __del__(self) -> None:
        self._stop.set()
