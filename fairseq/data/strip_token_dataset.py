"""Items without one token at either end: `[9, 2]` stripped of eos (2) is `[9]`. Sizes are unchanged."""

from typing import Any

import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.ragged import BatchReader, Ragged


class StripTokenDataset(BaseWrapperDataset):
    def __init__(self, dataset: Any, id_to_strip: int):
        super().__init__(dataset)
        self.id_to_strip = id_to_strip

    def __getitem__(self, index: int) -> torch.Tensor:
        item = self.dataset[index]
        other = item.ne(self.id_to_strip).nonzero().flatten()
        return item[other[0] : other[-1] + 1] if len(other) else item[:0]

    def gather(self, reader: BatchReader) -> Ragged:
        return reader.gather(self.dataset).strip(self.id_to_strip)
