"""The number of elements of each item; as a batch, all of them or (`reduce`) their sum."""

from typing import Any, Union

import numpy as np
import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.ragged import BatchReader, can_gather


class NumelDataset(BaseWrapperDataset):
    def __init__(self, dataset: Any, reduce: bool = False):
        super().__init__(dataset)
        self.reduce = reduce

    def __getitem__(self, index: int) -> int:
        item = self.dataset[index]
        return torch.numel(item) if torch.is_tensor(item) else int(np.size(item))

    def __len__(self) -> int:
        return len(self.dataset)

    def collater(self, samples: list[int]) -> Union[int, torch.Tensor]:
        return sum(samples) if self.reduce else torch.tensor(samples)

    def can_collate_batch(self) -> bool:
        return can_gather(self.dataset)

    def collate_batch(self, reader: BatchReader) -> Union[int, torch.Tensor]:
        lengths = reader.gather(self.dataset).lengths
        return int(lengths.sum()) if self.reduce else torch.from_numpy(lengths.astype(np.int64))
