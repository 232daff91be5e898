"""Memory of the CPU's tensors: kept in the process from step to step, and without gaps between the blocks.

glibc returns large freed blocks to the system; each step then gets them back as untouched pages, and the kernel zeroes
every one at first use. So blocks below 1 GiB stay in the process and are reused as they are. But glibc's heap also lets
small objects into the gaps that large blocks leave, and the next large block no longer fits: a third of the memory that
a RoBERTa step took was such gaps. So torch's blocks of 128 KiB and more move to an arena of their own, which takes the
smallest gap that fits (`native/src/arena.cpp`: 1.5 s of compiling once, for large models).

    from fairseq.allocator import keep_freed_memory, persistent_allocations
    keep_freed_memory()               # once, before the first large tensor; the commands call it on a CPU
    model = build()
    keep_freed_memory(for_elements=count(model))    # large enough to compile the arena for, if that is still to do
    with persistent_allocations():   # tensors that stay when the step is over lie apart from those of a step
        state = torch.zeros(...)

The process then holds its largest amount of memory until it ends, or until `return_free_memory`. Users who chose an
allocator or its settings themselves (`LD_PRELOAD`, `MALLOC_...`, `GLIBC_TUNABLES`) keep theirs; `FAIRSEQ_KEEP_MEMORY=0`
switches all of this off.
"""

import ctypes
import os
import platform
from collections.abc import Mapping

from fairseq.native.arena import arena, persistent_allocations

__all__ = ["arena", "keep_freed_memory", "lasting", "persistent_allocations", "region", "return_free_memory"]

lasting, region = persistent_allocations, arena  # their names until the next release

# parameters of mallopt(3)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MAX_HEAP_BLOCK = 1 << 30
NEVER_TRIM = (1 << 31) - 1
STEP = 64 << 20

MIN_ELEMENTS_TO_COMPILE = 1 << 24  # elements of a model


def keep_freed_memory(environment: Mapping[str, str] = os.environ, for_elements: int = 0) -> bool:
    """Set the allocators as the head of this file says; returns whether that was done.

    Args:
        environment: where a user's own choice would stand.
        for_elements: of the model. From 2^24 on the arena is compiled if it is not on disk yet.
    """
    chosen = [name for name in environment if name.startswith("MALLOC_") or name in ("LD_PRELOAD", "GLIBC_TUNABLES")]
    if chosen or environment.get("FAIRSEQ_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_THRESHOLD, MAX_HEAP_BLOCK), (M_TRIM_THRESHOLD, NEVER_TRIM), (M_TOP_PAD, STEP))
    results = [mallopt(name, value) for name, value in settings]
    arena().install(may_compile=for_elements >= MIN_ELEMENTS_TO_COMPILE)
    return all(result == 1 for result in results)


def return_free_memory() -> None:
    """Give the system back what is free, after something that took more than a step does, such as a checkpoint."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    if arena().library:
        arena().library.arena_release()  # type: ignore[union-attr]
