"""Epochs over a dataset that is read from start to end.

A state says how many batches of the epoch were taken; going on reads over them.
"""

from collections.abc import Callable
from typing import Any, Optional

import torch.utils.data

from fairseq.data.iterating.buffered import BufferedIterator
from fairseq.data.iterating.counting import CountingIterator
from fairseq.data.iterating.epochs import EpochBatchIterating


class StreamingEpochBatchIterator(EpochBatchIterating):
    """Batches of `max_sentences` items in the order of the dataset.

    Args:
        dataset: a `torch.utils.data.IterableDataset` with a length; its `set_epoch` is called, if it has one.
        collate_fn: a batch from a list of items; default: the dataset's `collater`, where it has one.
        epoch: to begin with.
        num_workers: processes that read; the dataset has to give each of them other items.
        buffer_size: batches that are read ahead.
        timeout: seconds to wait for a process; 0: forever.
        persistent_workers: fairseq's argument, without effect: each epoch has its own data loader.
    """

    def __init__(
        self,
        dataset: torch.utils.data.IterableDataset,
        max_sentences: int = 1,
        collate_fn: Optional[Callable[[list], Any]] = None,
        epoch: int = 1,
        num_workers: int = 0,
        buffer_size: int = 0,
        timeout: int = 0,
        persistent_workers: bool = True,
    ):
        assert isinstance(dataset, torch.utils.data.IterableDataset), "a dataset that is streamed is an IterableDataset"
        self.dataset = dataset
        self.collate_fn = collate_fn if collate_fn is not None else getattr(dataset, "collater", None)
        self.max_sentences, self.num_workers = max_sentences, num_workers
        self.buffer_size, self.timeout = buffer_size, timeout
        self.epoch = max(epoch, 1)
        self._current_epoch_iterator: Optional[CountingIterator] = None
        self._skipped = 0  # batches of the epoch that a state says were taken

    @property
    def next_epoch_idx(self) -> int:
        if self._current_epoch_iterator is not None and self.end_of_epoch():
            return self.epoch + 1
        return self.epoch

    def next_epoch_itr(
        self, shuffle: bool = True, fix_batches_to_gpus: bool = False, set_dataset_epoch: bool = True
    ) -> CountingIterator:
        self.epoch = self.next_epoch_idx
        if set_dataset_epoch and hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.epoch)
        loader: Any = torch.utils.data.DataLoader(
            self.dataset,
            batch_size=self.max_sentences,
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            timeout=self.timeout,
            generator=torch.Generator(),  # seeds of workers come from here: the global generator is not used
        )
        if self.buffer_size > 0:
            loader = BufferedIterator(self.buffer_size, loader)
        batches = CountingIterator(loader, start=0).skip(self._skipped)
        self._current_epoch_iterator, self._skipped = batches, 0
        return batches

    def end_of_epoch(self) -> bool:
        return self._current_epoch_iterator is not None and not self._current_epoch_iterator.has_next()

    @property
    def iterations_in_epoch(self) -> int:
        return self._current_epoch_iterator.n if self._current_epoch_iterator is not None else self._skipped

    def state_dict(self) -> dict[str, Any]:
        """Where training is; at the end of an epoch that is the beginning of the next."""
        taken = 0 if self.end_of_epoch() else self.iterations_in_epoch
        return {"epoch": self.next_epoch_idx, "iterations_in_epoch": taken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; fairseq 0.12, whose states say nothing of batches, begins the epoch
        again."""
        self.epoch, self._skipped = state_dict["epoch"], state_dict.get("iterations_in_epoch", 0)
        self._current_epoch_iterator = None
