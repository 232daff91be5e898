"""The memory arena from which torch allocates large CPU tensors (`arena.cpp`), and which of them outlive a step.

arena().install(may_compile=True)      # called by fairseq.allocator.keep_freed_memory, which says why
with persistent_allocations():         # no effect where it is not installed
    state = torch.zeros(...)
"""

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from typing import NamedTuple, Optional

from fairseq.native import library

MIN_BLOCK_BYTES = 1 << 17  # bytes; blocks are whole pages, so smaller ones would waste memory


class Figures(NamedTuple):
    """Bytes of the arena: in use, in use at most, and touched."""

    used: int
    most_used: int
    touched: int


class Arena:
    """Torch's allocator of large CPU tensors, once it is installed."""

    def __init__(self) -> None:
        self.library: Optional[ctypes.CDLL] = None

    def install(self, may_compile: bool) -> None:
        """Allocate large blocks from the arena from now on. No effect where that is not possible."""
        if self.library is not None:
            return
        if not may_compile and not library.is_built("arena", uses_torch=True):
            return
        found = library.library("arena", uses_torch=True)
        if found is not None:
            found.arena_install.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
            addresses = os.sysconf("SC_PHYS_PAGES") * os.sysconf(
                "SC_PAGE_SIZE"
            )  # address space; only touched pages take memory
            self.library = found if found.arena_install(MIN_BLOCK_BYTES, addresses) else None

    def figures(self) -> Optional[Figures]:
        """Its sizes now; None where it is not installed."""
        if self.library is None:
            return None
        found = (ctypes.c_size_t * len(Figures._fields))()
        self.library.arena_figures(found)
        return Figures(*found)


@functools.cache
def arena() -> Arena:
    """The instance of this process."""
    return Arena()


@contextlib.contextmanager
def persistent_allocations() -> Iterator[None]:
    """Context manager: tensors that this thread creates inside it outlive the training step."""
    library = arena().library
    before = library.arena_persistent(1) if library else 0
    try:
        yield
    finally:
        if library:
            library.arena_persistent(before)
