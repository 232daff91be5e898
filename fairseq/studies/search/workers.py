"""Which processes work on a search, and which of their trials nobody works on any more.

Each process holds a lock on a file of its own in OUT/.workers for as long as it lives: the system gives it back when
the process is killed. Processes on other machines, whose locks cannot be asked for, say that they live by a time in
their trial, every 30 seconds; ten minutes without one, and the trial is taken to be lost.
"""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, reason

FOLDER = ".workers"
BEAT, LOST = 30.0, 600.0  # seconds


class Worker:
    """This process, while the context lasts."""

    def __init__(self, out: Path):
        self.folder = out / FOLDER
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._file: Any = None

    @property
    def host(self) -> str:
        return socket.gethostname()

    def __enter__(self) -> "Worker":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / self.name, "w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {self.folder}: {reason(error)}; choose another --out") from None
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        with contextlib.suppress(OSError):
            (self.folder / self.name).unlink()
        self._file.close()

    def lives(self, name: str, host: str, beat: Optional[float]) -> bool:
        """Whether the worker of that name does.

        Args:
            beat: time of its last sign of life, in seconds since 1970.
        """
        if name == self.name:
            return True
        if host == self.host:
            return is_locked(self.folder / name)
        return beat is not None and time.time() - beat < LOST


def is_locked(path: Path) -> bool:
    """Whether another process holds a lock on a file; one that is not there has no owner."""
    try:
        with open(path, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among processes, until the block ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (the lock lasts as long as the file is open)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {reason(error)}; choose another --out") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def beating(beat: Callable[[float], None]) -> Iterator[None]:
    """Call `beat` with the time, now and every 30 seconds, until the block ends."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(BEAT):
            with contextlib.suppress(Exception):  # a storage that is busy gets the next one
                beat(time.time())

    beat(time.time())
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
