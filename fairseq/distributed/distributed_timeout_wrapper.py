"""Ends a process that hangs: a thread sends it a signal when no forward pass has begun for a while.

model = DistributedTimeoutWrapper(model, timeout=1800)
"""

import logging
import os
import signal as signals
import threading
from typing import Any

from torch import nn

logger = logging.getLogger(__name__)


class DistributedTimeoutWrapper(nn.Module):
    """`module`, watched from its first call on.

    Args:
        timeout: seconds from one call to the next; 0 or less: no limit.
        signal: what the process gets.
    """

    def __init__(self, module: nn.Module, timeout: int, signal: int = signals.SIGINT):
        super().__init__()
        self.module, self.timeout, self.signal = module, timeout, signal
        self._called = threading.Event()
        self._ended = threading.Event()
        self._thread: Any = None

    def __del__(self) -> None:
        self.stop_timeout()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)

    def stop_timeout(self) -> None:
        """Watch no longer."""
        self._ended.set()
        self._called.set()
        self._thread = None

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.load_state_dict(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._thread is None and self.timeout > 0:
            self._ended.clear()
            settings = (self._called, self._ended, self.timeout, self.signal, os.getpid())
            # the thread does not hold the wrapper, which has to be able to end
            self._thread = threading.Thread(target=_watch, args=settings, daemon=True)
            self._thread.start()
        self._called.set()
        return self.module(*args, **kwargs)


def _watch(called: threading.Event, ended: threading.Event, timeout: int, signal: int, process: int) -> None:
    while called.wait(timeout):
        called.clear()
        if ended.is_set():
            return
    logger.error(f"killing job for not making progress in {timeout} seconds")
    os.kill(process, signal)
