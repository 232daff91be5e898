"""Items padded to one of a few lengths, so that batches have few different shapes."""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.buckets import get_bucketed_sizes, get_buckets


class BucketPadLengthDataset(BaseWrapperDataset):
    """Each item (or, with `tensor_key`, that tensor of it) is padded to the next of `num_buckets` lengths."""

    def __init__(
        self,
        dataset: Any,
        sizes: np.ndarray,
        num_buckets: int,
        pad_idx: int,
        left_pad: bool,
        tensor_key: Optional[str] = None,
    ):
        super().__init__(dataset)
        self.pad_idx, self.left_pad, self.tensor_key = pad_idx, left_pad, tensor_key
        self.buckets = get_buckets(sizes, num_buckets)
        self._bucketed_sizes = get_bucketed_sizes(sizes, self.buckets)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        tensor = item if self.tensor_key is None else item[self.tensor_key]
        missing = int(self._bucketed_sizes[index]) - tensor.size(-1)
        padding = (missing, 0) if self.left_pad else (0, missing)
        padded = torch.nn.functional.pad(tensor, padding, value=self.pad_idx)
        return padded if self.tensor_key is None else {**item, self.tensor_key: padded}

    @property
    def sizes(self) -> np.ndarray:
        return self._bucketed_sizes

    def num_tokens(self, index: int) -> int:
        return int(self._bucketed_sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self._bucketed_sizes[indices]

    def size(self, index: int) -> int:
        return int(self._bucketed_sizes[index])
