"""Keep freed memory in the process, so that the next training step does not pay for the same pages again.

glibc returns large freed blocks to the system; each step then gets them back as untouched pages, and the kernel zeroes
every one at first use. With the settings here blocks below 1 GiB stay in the heap and are reused as they are.

    from fairseq.allocator import keep_freed_memory
    keep_freed_memory()          # once, before the first large tensor; the commands do it when they run on the CPU

The process then holds its largest amount of memory until it ends. Users who chose an allocator or its settings
themselves (`LD_PRELOAD`, `MALLOC_...`, `GLIBC_TUNABLES`) keep theirs; `FAIRSEQ_KEEP_MEMORY=0` switches this off.
"""

import ctypes
import os
import platform
from collections.abc import Mapping

# parameters of mallopt(3)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_BLOCK = 1 << 30
NEVER = (1 << 31) - 1
STEP = 64 << 20


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Set the allocator as the head of this file says; returns whether that was done.

    Args:
        environment: where a user's own choice would stand.
    """
    chosen = [name for name in environment if name.startswith("MALLOC_") or name in ("LD_PRELOAD", "GLIBC_TUNABLES")]
    if chosen or environment.get("FAIRSEQ_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_THRESHOLD, LARGEST_BLOCK), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, STEP))
    results = [mallopt(name, value) for name, value in settings]
    return all(result == 1 for result in results)
