"""The batches of one epoch after another: shuffled by seed and epoch, split over workers, resumable at any batch.

    itr = EpochBatchIterator(dataset, dataset.collater, batches, seed=1)
    epoch = itr.next_epoch_itr()            # epoch 1
    batch = next(epoch)
    state = itr.state_dict()                # {"version": 2, "epoch": 1, "iterations_in_epoch": 1, "shuffle": True}

In epoch e batches come in the order of `numpy.random.permutation` with seed `seed + e`; worker r of w takes every w-th
one from the r-th on. With several workers the state also says how many batches all of them have `consumed`, so that
another number of workers continues with exactly the batches that are left, in the same order.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np

from fairseq.data.indexed.files import check_files
from fairseq.data.iterating.counting import CountingIterator, ShardedIterator
from fairseq.data.iterating.loading import BatchLoader
from fairseq.data.seeding import numpy_seed
from fairseq.errors import CheckpointError, DataError

_MAX_BUFFER = 20


class EpochBatchIterating:
    """The interface of an iterator over epochs that the trainer uses."""

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def next_epoch_idx(self) -> int:
        """The epoch that `next_epoch_itr` gives next."""
        raise NotImplementedError

    def next_epoch_itr(
        self, shuffle: bool = True, fix_batches_to_gpus: bool = False, set_dataset_epoch: bool = True
    ) -> CountingIterator:
        """The batches of the next epoch, or the rest of one that was resumed.

        Args:
            shuffle: in random order.
            fix_batches_to_gpus: a worker gets the same batches each epoch (for datasets that prefetch).
            set_dataset_epoch: call the dataset's `set_epoch`.
        """
        raise NotImplementedError

    def end_of_epoch(self) -> bool:
        """Whether all batches of the current epoch were taken."""
        raise NotImplementedError

    @property
    def iterations_in_epoch(self) -> int:
        """Batches taken in the current epoch."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        raise NotImplementedError

    @property
    def first_batch(self) -> Optional[Any]:
        """The first batch; None if the dataset can only be read inside the data loader."""
        return None


class EpochBatchIterator(EpochBatchIterating):
    """See the top of this file.

    Args:
        dataset, collate_fn: items by index, and a batch from a list of items.
        batch_sampler: lists of indices; or a function `(dataset, epoch) -> lists` that is called for each epoch.
        seed: for the order of batches.
        num_shards, shard_id: number of data-parallel workers, and which one this is.
        num_workers, buffer_size, timeout: see `BatchLoader`.
        epoch: the number of the first epoch.
        disable_shuffling: always keep the given order.
        skip_remainder_batch: leave out the last batch of an epoch, which may be smaller.
        grouped_shuffling: shuffle groups of `num_shards` batches, so that workers get batches of similar length.
        reuse_dataloader, persistent_workers: fairseq's arguments, without effect: each epoch has its own data loader.
    """

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[list], Any],
        batch_sampler: Any,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        buffer_size: int = 0,
        timeout: int = 0,
        disable_shuffling: bool = False,
        skip_remainder_batch: bool = False,
        grouped_shuffling: bool = False,
        reuse_dataloader: bool = False,
        persistent_workers: bool = True,
    ):
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.batch_sampler = batch_sampler
        self._frozen_batches: Optional[Sequence[Any]] = None if callable(batch_sampler) else tuple(batch_sampler)
        self.seed = seed
        self.num_shards, self.shard_id = num_shards, shard_id
        self.num_workers, self.buffer_size, self.timeout = num_workers, min(buffer_size, _MAX_BUFFER), timeout
        self.disable_shuffling = disable_shuffling
        self.skip_remainder_batch = skip_remainder_batch
        self.grouped_shuffling = grouped_shuffling
        self.epoch = max(epoch, 1)
        self.shuffle = not disable_shuffling
        self._cur_epoch_itr: Optional[CountingIterator] = None
        self._next_epoch_itr: Optional[CountingIterator] = None
        self._supports_prefetch = getattr(dataset, "supports_prefetch", False)
        self._start_epoch_afresh()

    def _start_epoch_afresh(self) -> None:
        """All batches of the epoch belong to the present number of workers."""
        self._dealt = 0  # batches that all workers together had consumed when the present workers took over
        self._position = 0  # iterations_in_epoch at that moment
        self._group = self.num_shards  # workers that the epoch began with

    @property
    def frozen_batches(self) -> Sequence[Any]:
        """All batches of the epoch, of every worker, before shuffling."""
        if self._frozen_batches is None:
            self._frozen_batches = tuple(self.batch_sampler(self.dataset, self.epoch))
        return self._frozen_batches

    @property
    def first_batch(self) -> Optional[Any]:
        if not len(self.frozen_batches):
            raise DataError(
                "The dataset is empty. This could indicate that all elements in the dataset have been skipped. "
                "Try increasing the max number of allowed tokens or using a larger dataset."
            )
        if not getattr(self.dataset, "supports_fetch_outside_dataloader", True):
            return None
        return next(iter(BatchLoader(self.dataset, self.collate_fn, self.frozen_batches[:1])))

    def __len__(self) -> int:
        return math.ceil(len(self.frozen_batches) / self.num_shards)

    @property
    def n(self) -> int:
        return self.iterations_in_epoch

    @property
    def next_epoch_idx(self) -> int:
        if self._next_epoch_itr is None and self._cur_epoch_itr is not None and self.end_of_epoch():
            return self.epoch + 1
        return self.epoch

    def next_epoch_itr(
        self, shuffle: bool = True, fix_batches_to_gpus: bool = False, set_dataset_epoch: bool = True
    ) -> CountingIterator:
        check_files(self.dataset)
        shuffle = shuffle and not self.disable_shuffling
        previous, self.epoch = self.epoch, self.next_epoch_idx
        if set_dataset_epoch and hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.epoch)
        if self._next_epoch_itr is not None:
            self._cur_epoch_itr, self._next_epoch_itr = self._next_epoch_itr, None
        else:
            if callable(self.batch_sampler) and previous != self.epoch:
                self._frozen_batches = None
            self._start_epoch_afresh()
            self._cur_epoch_itr = self._get_iterator_for_epoch(self.epoch, shuffle, fix_batches_to_gpus)
        assert self._cur_epoch_itr is not None
        self.shuffle = shuffle
        return self._cur_epoch_itr

    def end_of_epoch(self) -> bool:
        return self._cur_epoch_itr is not None and not self._cur_epoch_itr.has_next()

    @property
    def iterations_in_epoch(self) -> int:
        current = self._cur_epoch_itr if self._cur_epoch_itr is not None else self._next_epoch_itr
        return current.n if current is not None else 0

    def state_dict(self) -> dict[str, Any]:
        """Where training is; at the end of an epoch that is the beginning of the next."""
        ended = self.end_of_epoch()
        state = {
            "version": 2,
            "epoch": self.epoch + 1 if ended else self.epoch,
            "iterations_in_epoch": 0 if ended else self.iterations_in_epoch,
            "shuffle": self.shuffle,
        }
        if not ended and (self.num_shards > 1 or self._dealt > 0):
            state["consumed"] = self._dealt + (self.iterations_in_epoch - self._position) * self.num_shards
            state["num_shards"], state["group"] = self.num_shards, self._group
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            CheckpointError: the epoch has fewer batches than were taken then.
        """
        self.epoch = state_dict["epoch"]
        self._cur_epoch_itr = self._next_epoch_itr = None
        position = state_dict.get("iterations_in_epoch", 0)
        self._start_epoch_afresh()
        if position > 0:
            position = self._take_over(position, state_dict)
            shuffle = state_dict.get("shuffle", True)
            self._next_epoch_itr = self._get_iterator_for_epoch(self.epoch, shuffle, offset=position)
            if self._next_epoch_itr is None:
                if state_dict.get("version", 1) > 1:
                    raise CheckpointError(
                        f"the checkpoint was taken after batch {position} of epoch {self.epoch}, which now has "
                        f"{len(self)}: the data or batch size changed; resume with --reset-dataloader"
                    )
                self.epoch += 1  # old checkpoints: taken at the end of the epoch

    def _take_over(self, position: int, state: dict[str, Any]) -> int:
        """This worker's position where `state` was taken, perhaps by another number of workers."""
        workers = state.get("num_shards", self.num_shards)
        consumed = state.get("consumed", position * workers)
        self._group = state.get("group", workers)
        if consumed != position * self.num_shards:
            self._dealt = consumed
            self._position = position = max(1, math.ceil(consumed / self.num_shards))
        return position

    def _get_iterator_for_epoch(
        self, epoch: int, shuffle: bool, fix_batches_to_gpus: bool = False, offset: int = 0
    ) -> Optional[CountingIterator]:
        """The epoch's batches from the `offset`-th on; None if it has no more than `offset` batches."""
        batches = self.ordered_batches(epoch, fix_batches_to_gpus, shuffle)
        taken = offset - self._position
        if offset > 0 and taken >= len(batches):
            return None
        loader = BatchLoader(
            self.dataset, self.collate_fn, batches[taken:], self.num_workers, self.buffer_size, self.timeout
        )
        itr = CountingIterator(loader, start=offset)
        return itr.take(self._position + len(batches) - 1) if self.skip_remainder_batch else itr

    def ordered_batches(self, epoch: int, fix_batches_to_gpus: bool, shuffle: bool) -> list[Any]:
        """This worker's batches in the order of an epoch, without those that were consumed by another number of
        workers; workers that have one less get an empty one.
        """
        fixed = fix_batches_to_gpus and self._supports_prefetch
        batches = self._arranged(self.seed + epoch if shuffle and not fixed else None)
        batches = list(ShardedIterator(batches[self._dealt :], self.num_shards, self.shard_id, fill_value=[]))
        if self._supports_prefetch:
            self.dataset.prefetch([i for batch in batches for i in batch])
        if shuffle and fixed:
            batches = self._shuffled(batches, self.seed + epoch + self.shard_id)
        return list(batches)

    def _arranged(self, seed: Optional[int]) -> Sequence[Any]:
        """All batches, of every worker, in the order of an epoch; None: unshuffled. Workers take them in turn."""
        return self.frozen_batches if seed is None else self._shuffled(self.frozen_batches, seed)

    def _shuffled(self, batches: Sequence[Any], seed: int) -> list[Any]:
        group = self._group if self.grouped_shuffling else 1
        num_groups = len(batches) // group
        with numpy_seed(seed):
            order = np.random.permutation(num_groups).tolist()
        shuffled = [batch for i in order for batch in batches[i * group : (i + 1) * group]]
        return shuffled + list(batches[num_groups * group :])  # fairseq drops those that fill no group
