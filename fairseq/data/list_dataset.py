"""A list (or another dataset) with given sizes; its batches are the items."""

from collections.abc import Iterator
from typing import Any, Optional

import numpy as np

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class ListDataset(BaseWrapperDataset):
    def __init__(self, dataset: Any, sizes: Optional[Any] = None):
        super().__init__(dataset)
        self._sizes = sizes

    def __iter__(self) -> Iterator:
        yield from self.dataset

    def collater(self, samples: list) -> list:
        return samples

    @property
    def sizes(self) -> Any:
        return self._sizes

    def num_tokens(self, index: int) -> int:
        return self.sizes[index]

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.asarray(self.sizes)[indices]

    def size(self, index: int) -> int:
        return self.sizes[index]

    def ordered_indices(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int64)

    def set_epoch(self, epoch: int) -> None:
        """A list has no epochs."""
