"""Items with one token put in front of each: `[5, 6, 2]` -> `[0, 5, 6, 2]`."""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.ragged import BatchReader, Ragged


class PrependTokenDataset(BaseWrapperDataset):
    """`token` None leaves items as they are."""

    def __init__(self, dataset: Any, token: Optional[int] = None):
        super().__init__(dataset)
        self.token = token
        self._added = int(token is not None)

    def __getitem__(self, idx: int) -> torch.Tensor:
        item = self.dataset[idx]
        return item if self.token is None else torch.cat([item.new_tensor([self.token]), item])

    def gather(self, reader: BatchReader) -> Ragged:
        items = reader.gather(self.dataset)
        return items if self.token is None else items.insert(self.token)

    @property
    def sizes(self) -> np.ndarray:
        return np.asarray(self.dataset.sizes) + self._added

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(index) + self._added

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.dataset.num_tokens_vec(indices) + self._added

    def size(self, index: int) -> int:
        return self.dataset.size(index) + self._added
