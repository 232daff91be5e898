"""What a person at a terminal waits for: one line on stderr while it lasts, gone when it is done.

    with waiting("compiling the norm kernel, once for this machine"):
        ...

Of waits within each other the innermost is shown. Nothing is written where stderr is no terminal, so that logs and
pipes stay as they are.
"""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator

PATIENCE = 0.5  # seconds before anything is shown
INTERVAL = 1.0

_waits: list[object] = []  # what is waited for now, the innermost last: there is one terminal
_terminal = threading.Lock()


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show `what` and the seconds so far during the block."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield
        return
    start, ended, this = time.monotonic(), threading.Event(), object()
    width = shutil.get_terminal_size().columns - 1

    def show() -> None:
        delay = PATIENCE
        while not ended.wait(delay):
            delay = INTERVAL
            line = f"{what} ... {time.monotonic() - start:.0f} s"
            with _terminal:
                if _waits[-1:] == [this]:
                    stream.write(f"\r{line[:width]:{width}}\r{line[:width]}")
                    stream.flush()
        if delay == INTERVAL:
            stream.write(f"\r{'':{width}}\r")
            stream.flush()

    thread = threading.Thread(target=show, daemon=True, name="waiting")
    with _terminal:
        _waits.append(this)
    thread.start()
    try:
        yield
    finally:
        with _terminal:
            _waits.remove(this)
        ended.set()
        thread.join()
