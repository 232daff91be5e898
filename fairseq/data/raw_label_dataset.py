"""Labels held in memory (numbers), for example regression targets."""

from collections.abc import Sequence

import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.ragged import BatchReader


class RawLabelDataset(FairseqDataset):
    def __init__(self, labels: Sequence[float]):
        super().__init__()
        self.labels = labels

    def __getitem__(self, index: int) -> float:
        return self.labels[index]

    def __len__(self) -> int:
        return len(self.labels)

    def collater(self, samples: list) -> torch.Tensor:
        return torch.tensor(samples)

    def collate_batch(self, reader: BatchReader) -> torch.Tensor:
        return torch.tensor([self.labels[index] for index in reader.indices.tolist()])
