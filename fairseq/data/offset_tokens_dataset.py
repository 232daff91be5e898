"""Items with a number added to every token: label symbols become classes with `offset=-dictionary.nspecial`."""

from typing import Any

import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.ragged import BatchReader, Ragged


class OffsetTokensDataset(BaseWrapperDataset):
    def __init__(self, dataset: Any, offset: int):
        super().__init__(dataset)
        self.offset = offset

    def __getitem__(self, idx: int) -> torch.Tensor:
        return self.dataset[idx] + self.offset

    def gather(self, reader: BatchReader) -> Ragged:
        items = reader.gather(self.dataset)
        return Ragged(items.flat + self.offset, items.lengths)
