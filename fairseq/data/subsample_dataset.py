"""A random part of a dataset."""

import logging
from typing import Any, Optional

import numpy as np

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.seeding import numpy_seed

logger = logging.getLogger(__name__)


class SubsampleDataset(BaseWrapperDataset):
    """`int(len(dataset) * size_ratio)` items drawn without replacement.

    Args:
        shuffle: batch items in random order instead of theirs.
        seed: for drawing; None: NumPy's global generator.
    """

    def __init__(self, dataset: Any, size_ratio: float, shuffle: bool = False, seed: Optional[int] = None):
        super().__init__(dataset)
        assert 0 < size_ratio < 1
        self.actual_size = int(np.ceil(len(dataset) * size_ratio))
        with numpy_seed(seed):
            self.indices = np.random.choice(len(dataset), self.actual_size, replace=False)
        self.shuffle = shuffle
        logger.info(f"subsampled dataset from {len(dataset)} to {self.actual_size} (ratio={size_ratio})")

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return self.actual_size

    def collater(self, samples: list) -> Any:
        return self.dataset.collater(samples)

    @property
    def sizes(self) -> np.ndarray:
        return self.dataset.sizes[self.indices]

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(self.indices[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.dataset.num_tokens_vec(self.indices[indices])

    def size(self, index: int) -> Any:
        return self.dataset.size(self.indices[index])

    def ordered_indices(self) -> np.ndarray:
        """Random or given order, then (stable) by size."""
        order = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return np.lexsort([order, self.sizes])

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(self.indices[indices])
