"""Further processes of `fairseq-search --jobs N`, which end with the one that has started them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def helpers(words: Sequence[str], count: int) -> Iterator[None]:
    """Run `count` processes of the command beside the block; wait for them at its end.

    Each holds the end of a pipe whose other end this process has: it closes with it, however it ends.
    """
    started = [
        subprocess.Popen([sys.executable, "-m", "fairseq_cli.search", *words], stdin=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        yield
        for process in started:
            process.wait()
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def end_with_parent() -> None:
    """End this process as soon as its standard input closes."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
