"""The indices of items, so that a batch says which items it holds."""

import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.ragged import BatchReader


class IdDataset(FairseqDataset):
    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 0

    def collater(self, samples: list[int]) -> torch.Tensor:
        return torch.tensor(samples)

    def collate_batch(self, reader: BatchReader) -> torch.Tensor:
        return torch.from_numpy(reader.indices.copy())
