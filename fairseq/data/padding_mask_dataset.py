"""Where batches have padding: True there."""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class PaddingMaskDataset(BaseWrapperDataset):
    """Batches are masks (B, T) of the items' lengths.

    Args:
        left_pad: padding is on the left.
        pad_length: at least so many columns.
    """

    def __init__(self, dataset: Any, left_pad: bool, pad_length: Optional[int] = None):
        super().__init__(dataset)
        self.left_pad, self.pad_length = left_pad, pad_length

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros_like(self.dataset[index]).bool()

    def collater(self, samples: list) -> Tensor:
        width = max(len(sample) for sample in samples)
        width = width if self.pad_length is None else max(width, self.pad_length)
        lengths = torch.tensor([len(sample) for sample in samples])
        columns = torch.arange(width).unsqueeze(0)
        return columns < width - lengths.unsqueeze(1) if self.left_pad else columns >= lengths.unsqueeze(1)


class LeftPaddingMaskDataset(PaddingMaskDataset):
    def __init__(self, dataset: Any):
        super().__init__(dataset, left_pad=True)


class RightPaddingMaskDataset(PaddingMaskDataset):
    def __init__(self, dataset: Any):
        super().__init__(dataset, left_pad=False)
