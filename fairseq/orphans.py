"""A process that works for another one ends with it, however that one ended.

    ProcessPoolExecutor(4, initializer=end_with_parent, initargs=(os.getpid(),))

A killed process cannot stop its children, and a child that waits on a queue for work notices nothing: its siblings
hold the other end of the pipe open too. So each child looks once a second whether its parent is still there. The
parent's number is taken by the parent, before there is a child: one that asks by itself, when it has started, may be an
orphan by then and take its new parent for the old one.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Optional

INTERVAL = 1.0  # seconds


def end_with_parent(parent: int, say: Optional[Callable[[], None]] = None, interval: float = INTERVAL) -> None:
    """From now on, end this process when process `parent`, which started it, is gone.

    Args:
        parent: `os.getpid()` of the parent, taken there.
        say: called before this process ends.
        interval: seconds between two looks.
    """
    threading.Thread(target=_watch, args=(parent, say, interval), daemon=True, name="end-with-parent").start()


def _watch(parent: int, say: Optional[Callable[[], None]], interval: float) -> None:
    while _is_there(parent):
        time.sleep(interval)
    if say is not None:
        say()
    os._exit(1)


def _is_there(parent: int) -> bool:
    if multiprocessing.get_start_method() != "forkserver":
        return os.getppid() == parent
    own = multiprocessing.parent_process()  # with a fork server in between, only it holds the pipe to the parent
    return own is not None and own.is_alive()
