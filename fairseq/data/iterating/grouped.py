"""Epochs over the batches of several samplers: those of one update, in all workers, come from one of them.

>>> batches = GroupedEpochBatchIterator([0, 1, 2, 3], list, [[[0], [1]], [[2], [3]]], mult_rate=2)
>>> list(batches.next_epoch_itr(shuffle=False))
[[0], [1], [2], [3]]
"""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np

from fairseq.data.iterating.epochs import EpochBatchIterator
from fairseq.data.seeding import numpy_seed


class GroupedEpochBatchIterator(EpochBatchIterator):
    """Batches are shuffled within their sampler, cut into groups of `num_shards * mult_rate`, and groups are shuffled.

    Args:
        batch_samplers: for each of them, its batches (lists of indices).
        mult_rate: batches of one worker in a group: the updates, or parts of one, that see the same sampler.
        skip_remainder_batch: leave out batches that fill no group. Without it they come at the end of the epoch, where
            fairseq 0.12 leaves them out as well.
        dataset, collate_fn, seed, num_shards, shard_id, num_workers, epoch, buffer_size: see `EpochBatchIterator`.
    """

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[list], Any],
        batch_samplers: Sequence[Sequence[Any]],
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 0,
        mult_rate: int = 1,
        buffer_size: int = 0,
        skip_remainder_batch: bool = False,
    ):
        self._samplers = [list(batches) for batches in batch_samplers]
        self.mult_rate, self._skip_rest = mult_rate, skip_remainder_batch
        super().__init__(
            dataset,
            collate_fn,
            [batch for batches in self._samplers for batch in batches],
            seed=seed,
            num_shards=num_shards,
            shard_id=shard_id,
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=buffer_size,
        )

    def __len__(self) -> int:
        return -(-len(self._arranged(None)) // self.num_shards)

    def _arranged(self, seed: Optional[int]) -> list[Any]:
        size = self._group * self.mult_rate
        groups, rest = [], []
        for sampler in self._samplers:
            batches = _shuffled(sampler, seed)
            full = len(batches) // size * size
            groups += [batches[start : start + size] for start in range(0, full, size)]
            rest += batches[full:]
        arranged = [batch for group in _shuffled(groups, seed) for batch in group]
        return arranged if self._skip_rest else arranged + rest


def _shuffled(items: list[Any], seed: Optional[int]) -> list[Any]:
    """`items` in the random order of a seed; None: as they are."""
    if seed is None:
        return items
    with numpy_seed(seed):
        return [items[i] for i in np.random.permutation(len(items)).tolist()]
