"""A mixture of data sets in small epochs: each takes the next part of one pass over it.

    epochs of 7 out of a pass of 24:  7, 7, 7, 3, then a new pass

A pass is drawn at its first epoch. A run that is resumed within a pass draws the same (fairseq 0.12 draws another one).
"""

import logging
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from fairseq.data.multilingual.sampled_multi_dataset import (
    CollateFormat,
    SampledMultiDataset,
    VirtualSize,
    default_virtual_size_func,
)

logger = logging.getLogger(__name__)


class SampledMultiEpochDataset(SampledMultiDataset):
    """`SampledMultiDataset` whose epochs have `virtual_epoch_size` items.

    Args:
        virtual_epoch_size: default, and at most: a whole pass.
        shard_epoch: of the data that is loaded; fairseq's argument, without effect.
        datasets, sampling_ratios, seed, epoch, eval_key, collate_format, virtual_size, split, shared_collater, shuffle:
            see `SampledMultiDataset`.
    """

    def __init__(
        self,
        datasets: Any,
        sampling_ratios: Optional[Sequence[float]] = None,
        seed: int = 2,
        epoch: int = 1,
        eval_key: Optional[str] = None,
        collate_format: CollateFormat = CollateFormat.single,
        virtual_size: VirtualSize = default_virtual_size_func,
        split: str = "",
        virtual_epoch_size: Optional[int] = None,
        shared_collater: bool = False,
        shard_epoch: int = 1,
        shuffle: bool = True,
    ):
        self.virtual_epoch_size = virtual_epoch_size or 0
        self.shard_epoch = shard_epoch
        self._pass: Optional[int] = None  # the first epoch of the pass that was drawn
        super().__init__(
            datasets,
            sampling_ratios,
            seed,
            epoch,
            eval_key,
            collate_format,
            virtual_size,
            split,
            shared_collater,
            shuffle,
        )

    def setup_sampling(self, sample_ratios: Optional[Sequence[float]], virtual_size: VirtualSize) -> None:
        super().setup_sampling(sample_ratios, virtual_size)
        self._pass = None
        size = self.virtual_epoch_size or self.virtual_size
        if size > self.virtual_size:
            logger.warning(f"virtual epoch size {size} is greater than virtual dataset size {self.virtual_size}")
            size = self.virtual_size
        self.virtual_epoch_size = size

    def _get_epoch_start_index(self, epoch: int) -> int:
        """Where in its pass an epoch begins."""
        epochs = -(-self.virtual_size // self.virtual_epoch_size)  # of a pass
        return (epoch - 1) % epochs * self.virtual_epoch_size

    def _draw_for(self, epoch: int) -> None:
        start = self._get_epoch_start_index(epoch)
        first = epoch - start // self.virtual_epoch_size
        if first != self._pass:
            self._draw(first)
            self._order = self._generator(first).choice(self.virtual_size, self.virtual_size, replace=False)
            self._pass = first
        self._current = self._order[start : start + self.virtual_epoch_size]

    def _map_epoch_index_to_global(self, index: int) -> int:
        return int(self._current[index])

    def __len__(self) -> int:
        return len(self._current)

    def _places(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        return super()._places(self._current[indices])
