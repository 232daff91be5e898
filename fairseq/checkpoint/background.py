"""Files that are written while the caller goes on: one thread takes them in order.

    background.submit(write, path)      # returns at once
    background.wait()                   # raises what the first failure raised

>>> done = []
>>> queue = Background()
>>> queue.submit(done.append, 1)
>>> queue.wait()
>>> done
[1]
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Optional


class Background:
    """A queue with one thread, which is started with the first task and joined when the process ends."""

    def __init__(self) -> None:
        self._thread: Optional[ThreadPoolExecutor] = None
        self._tasks: list[Future] = []

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` after everything that was submitted before.

        Raises:
            Exception: what an earlier task raised; it is raised once.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._raise_of([task for task in self._tasks if task.done()])
        self._tasks.append(self._thread.submit(function, *args))

    def wait(self) -> None:
        """Wait until all is done; raises what a task raised."""
        self._raise_of(list(self._tasks))

    def _raise_of(self, tasks: list[Future]) -> None:
        for task in tasks:
            self._tasks.remove(task)
            task.result()
