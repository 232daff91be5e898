"""Shortening items to a number of tokens: their beginning, or a window at random.

dataset = maybe_shorten_dataset(dataset, split, "train", "truncate", tokens_per_sample=512, seed=1)
"""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.ragged import BatchReader, Ragged
from fairseq.data.seeding import numpy_seed


class TruncateDataset(BaseWrapperDataset):
    """The first `truncation_length` tokens of each item."""

    def __init__(self, dataset: Any, truncation_length: int):
        super().__init__(dataset)
        self.truncation_length = truncation_length

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.dataset[index][: self.truncation_length]

    def gather(self, reader: BatchReader) -> Ragged:
        return reader.gather(self.dataset).truncate(self.truncation_length)

    @property
    def sizes(self) -> np.ndarray:
        return np.minimum(self.dataset.sizes, self.truncation_length)

    def num_tokens(self, index: int) -> int:
        return min(self.dataset.num_tokens(index), self.truncation_length)

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.minimum(self.dataset.num_tokens_vec(indices), self.truncation_length)

    def size(self, index: int) -> int:
        return min(self.dataset.size(index), self.truncation_length)


class RandomCropDataset(TruncateDataset):
    """`truncation_length` consecutive tokens of each item, from a place drawn for each item and epoch."""

    def __init__(self, dataset: Any, truncation_length: int, seed: int = 1):
        super().__init__(dataset, truncation_length)
        self.seed = seed
        self.epoch = 0

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True  # the crop changes with the epoch, sizes do not

    def set_epoch(self, epoch: int, **unused: Any) -> None:
        super().set_epoch(epoch)
        self.epoch = epoch

    def __getitem__(self, index: int) -> torch.Tensor:
        item = self.dataset[index]
        excess = len(item) - self.truncation_length
        if excess > 0:
            with numpy_seed(self.seed, self.epoch, index):
                start = np.random.randint(0, excess)
            item = item[start : start + self.truncation_length]
        return item


def maybe_shorten_dataset(
    dataset: Any,
    split: str,
    shorten_data_split_list: str,
    shorten_method: Optional[str],
    tokens_per_sample: int,
    seed: int,
) -> Any:
    """`dataset` shortened by `shorten_method` (none, truncate, random_crop) if `split` is in the comma-separated list.

    An empty list means every split.
    """
    if shorten_data_split_list and split not in shorten_data_split_list.split(","):
        return dataset
    if shorten_method == "truncate":
        return TruncateDataset(dataset, tokens_per_sample)
    if shorten_method == "random_crop":
        return RandomCropDataset(dataset, tokens_per_sample, seed)
    return dataset
