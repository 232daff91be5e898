"""Stop on SIGTERM or Ctrl-C after the current update instead of in the middle of it.

    with StopRequest() as stop:
        for batch in batches:
            train_step(batch)
            if stop.requested:
                save(); break

The first signal only sets `requested`; a second one ends the process at once, as if nothing had been installed.
"""

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any, Optional

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Context manager that turns the first SIGTERM or SIGINT into a flag. Only the main thread can install handlers."""

    def __init__(self) -> None:
        self.signal: Optional[signal.Signals] = None
        self._previous: dict[signal.Signals, Any] = {}
        self._process = os.getpid()

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + signal number, the shell's convention, so that `a && b` does not go on after a stopped `a`."""
        return 128 + self.signal if self.signal is not None else 0

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self._process:
            # a data-loading worker has inherited this handler: its parent decides about Ctrl-C, and ends it by SIGTERM
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        self.signal = signal.Signals(number)
        self._restore()
        logger.warning(f"{self.signal.name} received: saving after this update (once more to stop at once)")
