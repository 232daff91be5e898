"""The most memory that a run takes, in a process that runs several one after the other.

>>> with PeakMemory() as peak:
...     block = bytearray(1 << 26)
>>> peak.bytes is None or peak.bytes > 1 << 26
True
"""

import contextlib
import re
from pathlib import Path
from typing import Any, Optional

import torch

from fairseq.allocator import return_free_memory

SELF = Path("/proc/self")


class PeakMemory:
    """Around one run. Counted is the process's own memory, code of libraries included; with GPUs, theirs.

    Attributes:
        bytes: the peak, after the block; None where the system does not tell.
    """

    def __init__(self) -> None:
        self.bytes: Optional[int] = None

    def __enter__(self) -> "PeakMemory":
        return_free_memory()  # that of the run before
        if torch.cuda.is_available():
            for device in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(device)
        with contextlib.suppress(OSError):
            (SELF / "clear_refs").write_text("5")  # the peak starts again from what there is now; see proc(5)
            self._restarted = True
        return self

    _restarted = False

    def __exit__(self, *exc_info: Any) -> None:
        if torch.cuda.is_available():
            devices = range(torch.cuda.device_count())
            self.bytes = sum(torch.cuda.max_memory_allocated(device) for device in devices)
        elif self._restarted:
            found = re.search(r"^VmHWM:\s*(\d+) kB", (SELF / "status").read_text(), re.MULTILINE)
            self.bytes = int(found[1]) * 1024 if found else None
