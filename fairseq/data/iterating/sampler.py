"""The batches of an epoch as a sampler of torch's `DataLoader`, which may outlive the epoch.

>>> sampler = FrozenBatchSampler(lambda epoch, fixed, shuffle: [[epoch], [1], [2]], 7, False, True, initial_offset=1)
>>> list(sampler), len(sampler)
([[1], [2]], 2)
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.data


class FrozenBatchSampler(torch.utils.data.Sampler):
    """Batches from `ordered_batches(epoch, fix_batches_to_gpus, shuffle)`, from the `initial_offset`-th on."""

    def __init__(
        self,
        ordered_batches: Callable[[int, bool, bool], list[Any]],
        epoch: int,
        fix_batches_to_gpus: bool,
        shuffle: bool,
        initial_offset: int,
    ):
        self.ordered_batches = ordered_batches
        self.fix_batches_to_gpus, self.shuffle = fix_batches_to_gpus, shuffle
        self.make_batches_for_epoch(epoch, initial_offset)

    def make_batches_for_epoch(self, epoch: int, offset: int = 0) -> None:
        """Go over to another epoch."""
        self.batches = self.ordered_batches(epoch, self.fix_batches_to_gpus, self.shuffle)[offset:]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
