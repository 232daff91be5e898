"""Stop on SIGTERM or Ctrl-C after the current update instead of in the middle of it.

    with StopRequest() as stop:
        for batch in batches:
            train_step(batch)
            if stop.agreed():
                save(); break

The first signal only sets `requested`; a second one ends the process at once, as if nothing had been installed.

Several processes have to stop after the same update: whichever got the signal, `agreed` - which all of them call after
each update - informs all of them. A launcher may deliver one request twice (once itself, once through the group
that the system signals), so there a second signal counts from two seconds after the first one on.
"""

import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Optional

import torch

from fairseq.distributed import utils as distributed_utils

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SAME_REQUEST = 2.0  # seconds


class StopRequest:
    """Context manager that turns the first SIGTERM or SIGINT into a flag. Only the main thread can install handlers."""

    def __init__(self) -> None:
        self.signal: Optional[signal.Signals] = None
        self._previous: dict[signal.Signals, Any] = {}
        self._process = os.getpid()
        self._received: Optional[signal.Signals] = None
        self._received_at = 0.0
        self._together = distributed_utils.get_world_size() > 1

    @property
    def requested(self) -> bool:
        """Whether to stop; with several processes, whether they have agreed to."""
        return self.signal is not None

    def agreed(self, device: Any = None) -> bool:
        """`requested`, after asking the other processes; all of them have to call this together."""
        if self._together and self.signal is None:
            number = distributed_utils.all_reduce(torch.tensor(int(self._received or 0), device=device), op="max")
            if number.item():
                self.signal = signal.Signals(int(number.item()))
                self._announce()
        return self.requested

    @property
    def exit_code(self) -> int:
        """128 + signal number, the shell's convention, so that `a && b` does not continue after a stopped `a`."""
        return 128 + self.signal if self.signal is not None else 0

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *exc_info: Any) -> None:
        # after a failure, a launcher's SIGTERM must not end this process before it has reported the error
        if not (self._together and isinstance(exc_info[1], Exception)):
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self._process:
            # a data-loading worker has inherited this handler: its parent handles Ctrl-C, and ends it by SIGTERM
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if not self._together:
            self.signal = signal.Signals(number)
            self._restore()
            self._let_workers_end()
            self._announce()
        elif self._received is None:
            self._received, self._received_at = signal.Signals(number), time.monotonic()
            self._let_workers_end()
        elif time.monotonic() - self._received_at > _SAME_REQUEST:
            self._restore()
            os.kill(os.getpid(), number)

    def _let_workers_end(self) -> None:
        """A signal to the whole process group ends data-loading workers too. PyTorch answers their end (SIGCHLD) with
        an exception wherever the main thread is, which can be in the middle of writing the checkpoint. Its handler is
        not put back: a worker may end late, while the interpreter exits. Nor is the default: Python raises when that
        meets a signal which came before.
        """
        if callable(signal.getsignal(signal.SIGCHLD)):
            signal.signal(signal.SIGCHLD, _nothing)

    def _announce(self) -> None:
        assert self.signal is not None
        logger.warning(f"{self.signal.name} received: saving after this update (once more to stop at once)")


def _nothing(number: int, frame: Optional[FrameType]) -> None:
    """A handler."""
