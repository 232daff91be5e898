"""The arena of memory in which large tensors of the CPU live (`arena.cpp`), and which of them outlast a step.

arena().install(may_compile=True)      # done by fairseq.allocator.keep_freed_memory, which says what for
with persistent_allocations():                         # nothing where it is not installed
    state = torch.zeros(...)
"""

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from typing import NamedTuple, Optional

from fairseq.native import library

MIN_BLOCK_BYTES = 1 << 17  # bytes; blocks of an arena are whole pages, so that smaller ones would waste some


class Figures(NamedTuple):
    """Bytes of the arena: in tensors, in tensors at most, and all that they have touched."""

    used: int
    most_used: int
    touched: int


class Arena:
    """Where large tensors of the CPU live, once it is installed."""

    def __init__(self) -> None:
        self.library: Optional[ctypes.CDLL] = None

    def install(self, may_compile: bool) -> None:
        """Have torch take its large blocks there from now on. Nothing happens where it is not possible."""
        if self.library is not None:
            return
        if not may_compile and not library.is_built("arena", uses_torch=True):
            return
        found = library.library("arena", uses_torch=True)
        if found is not None:
            found.arena_install.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
            addresses = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # of memory only what is touched
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
    """The process's one."""
    return Arena()


@contextlib.contextmanager
def persistent_allocations() -> Iterator[None]:
    """Tensors that this thread creates meanwhile outlast the step."""
    library = arena().library
    before = library.arena_persistent(1) if library else 0
    try:
        yield
    finally:
        if library:
            library.arena_persistent(before)
