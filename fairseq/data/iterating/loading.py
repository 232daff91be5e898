"""Reading the batches of an epoch: here, or in worker processes.

A worker sends small batches as bytes. PyTorch would put each tensor into separate shared memory, which costs
more than making a batch of token ids does.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.utils.data

from fairseq.data.errors import LoadingError
from fairseq.data.ragged import BatchReader, can_collate
from fairseq.errors import FairseqError
from fairseq.orphans import end_with_parent

_SENT_AS_BYTES = 1 << 18  # tensors larger than this go through shared memory
_DEATH = re.compile(r"DataLoader worker \(pid\S* ([\d, ]+)\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)")


@contextlib.contextmanager
def deaths_of_workers() -> Iterator[None]:
    """Report the death of a worker in one line. PyTorch raises it at any point of the main thread, so put this around
    all code that runs while there are workers.

    Raises:
        LoadingError: a worker was killed.
    """
    try:
        yield
    except RuntimeError as error:
        found = _DEATH.match(str(error))
        if found is None:
            raise
        how = f"was ended by a signal ({found[2]})" if found[2] else "ended"
        # a mapped page that its file no longer has, or no room in /dev/shm
        bus = "a data file became shorter while it was read, or shared memory"
        what = bus if found[2] == "Bus error" else "memory"
        raise LoadingError(
            f"the data-loading process {found[1]} {how}, perhaps because {what} ran out; "
            "dataset.num_workers=0 reads without such processes"
        ) from error


class Packed(NamedTuple):
    """A tensor on its way between processes."""

    values: np.ndarray


class Failed(NamedTuple):
    """The message of a failure in a worker, without the worker's traceback."""

    kind: type[FairseqError]
    message: str


def pack(value: Any) -> Any:
    """`value` with every small CPU tensor as its array."""
    if isinstance(value, torch.Tensor):
        small = value.nbytes <= _SENT_AS_BYTES and value.layout == torch.strided and not value.requires_grad
        if small and type(value) is torch.Tensor and value.device.type == "cpu" and value.dtype != torch.bfloat16:
            return Packed(value.numpy())
        return value
    if type(value) is dict:
        return {key: pack(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(pack(item) for item in value)
    return value


def unpack(value: Any, pin: bool = False) -> Any:
    """The value that was packed; `pin`: with tensors in page-locked memory, from which a GPU can copy meanwhile.

    Raises:
        FairseqError: the worker's.
    """
    if type(value) is Failed:
        raise value.kind(value.message)
    if type(value) is Packed:
        value = torch.from_numpy(value.values)
    if isinstance(value, torch.Tensor):
        return value.pin_memory() if pin else value
    if type(value) is dict:
        return {key: unpack(item, pin) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(unpack(item, pin) for item in value)
    return value


class BatchDataset(torch.utils.data.Dataset):
    """A dataset of batches: `dataset[indices]` reads and collates those items, at once where that is possible."""

    def __init__(self, dataset: Any, collate_fn: Callable[[list], Any], packed: bool = False):
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.packed = packed
        own = getattr(collate_fn, "__self__", None) is dataset and getattr(collate_fn, "__name__", "") == "collater"
        self.whole = own and can_collate(dataset)

    def __getitem__(self, indices: Sequence[int]) -> Any:
        if not self.packed:
            return self.read(indices)
        try:
            return pack(self.read(indices))
        except FairseqError as error:
            return Failed(type(error), str(error))

    def read(self, indices: Sequence[int]) -> Any:
        if self.whole and len(indices):
            return self.dataset.collate_batch(BatchReader(indices))
        return self.collate_fn([self.dataset[i] for i in indices])


def _same(batch: Any) -> Any:
    return batch


def _begin_worker(parent: int, worker: int) -> None:
    end_with_parent(parent)  # torch's own watchdog does not see a parent that died before it began to watch


class BatchLoader:
    """The batches of `batches` (lists of indices), in order.

    Args:
        num_workers: processes that read; 0: this one, each batch when it is requested.
        buffer_size: batches the workers read ahead.
        timeout: seconds to wait for a batch from a worker; 0: forever.
    """

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[list], Any],
        batches: Sequence[Any],
        num_workers: int = 0,
        buffer_size: int = 0,
        timeout: float = 0,
    ):
        self.batches = batches
        self.dataset = BatchDataset(dataset, collate_fn, packed=num_workers > 0)
        self.num_workers, self.buffer_size, self.timeout = num_workers, buffer_size, timeout

    def __len__(self) -> int:
        return len(self.batches)

    def take(self, n: int) -> None:
        """Read only the first `n` batches."""
        self.batches = self.batches[:n]

    def __iter__(self) -> Iterator:
        pin = torch.cuda.is_available()
        if self.num_workers > 0 and len(self.batches):
            return self._unpacked(pin)
        batches = map(self.dataset.__getitem__, self.batches)
        return (unpack(batch, pin) for batch in batches) if pin else batches

    def _unpacked(self, pin: bool) -> Iterator:
        batches = iter(self._workers())
        try:
            for batch in batches:
                yield unpack(batch, pin)
        finally:
            del batches  # stops the workers now: the garbage collector, coming later, takes five seconds over it

    def _workers(self) -> Iterable:
        return torch.utils.data.DataLoader(
            self.dataset,
            batch_size=None,  # an index here is a whole batch
            sampler=self.batches,
            collate_fn=_same,
            num_workers=self.num_workers,
            prefetch_factor=max(2, -(-self.buffer_size // self.num_workers)),
            timeout=self.timeout,
            worker_init_fn=partial(_begin_worker, os.getpid()),
            generator=torch.Generator(),  # seeds of workers come from here: the global generator is not used
        )
