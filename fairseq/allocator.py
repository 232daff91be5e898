"""Memory of the CPU's tensors: kept in the process from step to step, and without gaps between the blocks.

glibc returns large freed blocks to the system; each step then gets them back as untouched pages, and the kernel zeroes
every one at first use. So blocks below 1 GiB stay in the process and are reused as they are. But glibc's heap also lets
small objects into the gaps that large blocks leave, and the next large block no longer fits: a third of the memory that
a RoBERTa step took was such gaps. So torch's blocks of 128 KiB and more move to a region of their own, which takes the
smallest gap that fits (`quantization/kernels/region.cpp`: 1.5 s of compiling once, for large models).

    from fairseq.allocator import keep_freed_memory, lasting
    keep_freed_memory()               # once, before the first large tensor; the commands do it when they run on the CPU
    model = build()
    keep_freed_memory(for_elements=count(model))    # large enough to compile the region for, if that is still to do
    with lasting():                   # tensors that stay when the step is over lie apart from those of a step
        state = torch.zeros(...)

The process then holds its largest amount of memory until it ends, or until `return_free_memory`. Users who chose an
allocator or its settings themselves (`LD_PRELOAD`, `MALLOC_...`, `GLIBC_TUNABLES`) keep theirs; `FAIRSEQ_KEEP_MEMORY=0`
switches all of this off.
"""

import contextlib
import ctypes
import functools
import os
import platform
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

# parameters of mallopt(3)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_BLOCK = 1 << 30
NEVER = (1 << 31) - 1
STEP = 64 << 20

LEAST_BLOCK = 1 << 17  # bytes; blocks of a region are whole pages, so that smaller ones would waste some
WORTH_COMPILING = 1 << 24  # elements of a model


def keep_freed_memory(environment: Mapping[str, str] = os.environ, for_elements: int = 0) -> bool:
    """Set the allocators as the head of this file says; returns whether that was done.

    Args:
        environment: where a user's own choice would stand.
        for_elements: of the model. From 2^24 on the region is compiled if it is not on disk yet.
    """
    chosen = [name for name in environment if name.startswith("MALLOC_") or name in ("LD_PRELOAD", "GLIBC_TUNABLES")]
    if chosen or environment.get("FAIRSEQ_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_THRESHOLD, LARGEST_BLOCK), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, STEP))
    results = [mallopt(name, value) for name, value in settings]
    region().install(may_compile=for_elements >= WORTH_COMPILING)
    return all(result == 1 for result in results)


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Tensors that this thread creates meanwhile outlast the step."""
    library = region().library
    before = library.region_lasting(1) if library else 0
    try:
        yield
    finally:
        if library:
            library.region_lasting(before)


def return_free_memory() -> None:
    """Give the system back what is free, after something that took more than a step does, such as a checkpoint."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    if region().library:
        region().library.region_release()  # type: ignore[union-attr]


class Figures(NamedTuple):
    """Bytes of the region: in tensors, in tensors at most, and all that they have touched."""

    used: int
    most_used: int
    touched: int


class Region:
    """Where large tensors of the CPU live, once it is installed."""

    def __init__(self) -> None:
        self.library: Optional[ctypes.CDLL] = None

    def install(self, may_compile: bool) -> None:
        """Have torch take its large blocks there from now on. Nothing happens where it is not possible."""
        if self.library is not None:
            return
        from fairseq.quantization.kernels import native

        if not may_compile and not native.is_built("region", uses_torch=True):
            return
        found = native.library("region", uses_torch=True)
        if found is not None:
            found.region_install.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
            addresses = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # of memory only what is touched
            self.library = found if found.region_install(LEAST_BLOCK, addresses) else None

    def figures(self) -> Optional[Figures]:
        """Its sizes now; None where it is not installed."""
        if self.library is None:
            return None
        found = (ctypes.c_size_t * len(Figures._fields))()
        self.library.region_figures(found)
        return Figures(*found)


@functools.cache
def region() -> Region:
    """The process's one."""
    return Region()
