"""Datasets whose batches are matrices padded on one side."""

from typing import Any, Optional

import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.collating import collate_tokens
from fairseq.data.ragged import BatchReader, can_gather


class PadDataset(BaseWrapperDataset):
    """Batches are `(B, T)`, T the longest item, or `pad_length` if that is more."""

    def __init__(self, dataset: Any, pad_idx: int, left_pad: bool, pad_length: Optional[int] = None):
        super().__init__(dataset)
        self.pad_idx = pad_idx
        self.left_pad = left_pad
        self.pad_length = pad_length

    def collater(self, samples: list) -> torch.Tensor:
        return collate_tokens(samples, self.pad_idx, left_pad=self.left_pad, pad_to_length=self.pad_length)

    def can_collate_batch(self) -> bool:
        return can_gather(self.dataset)

    def collate_batch(self, reader: BatchReader) -> torch.Tensor:
        items = reader.gather(self.dataset)
        return torch.from_numpy(items.pad(self.pad_idx, left=self.left_pad, width=self.pad_length or 0))


class LeftPadDataset(PadDataset):
    def __init__(self, dataset: Any, pad_idx: int):
        super().__init__(dataset, pad_idx, left_pad=True)


class RightPadDataset(PadDataset):
    def __init__(self, dataset: Any, pad_idx: int):
        super().__init__(dataset, pad_idx, left_pad=False)
