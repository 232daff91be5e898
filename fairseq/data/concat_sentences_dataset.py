"""Item i of several datasets joined into one sequence: `<s> A </s>` and `</s> B </s>` give `<s> A </s> </s> B </s>`."""

from typing import Any

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.ragged import BatchReader, Ragged, concatenate
from fairseq.errors import DataError


class ConcatSentencesDataset(FairseqDataset):
    """`datasets` must be equally long.

    Raises:
        DataError: they are not.
    """

    def __init__(self, *datasets: Any):
        super().__init__()
        self.datasets = datasets
        lengths = [len(dataset) for dataset in datasets]
        if len({*lengths}) != 1:
            raise DataError(f"inputs of one split have different numbers of items, {lengths}; preprocess them again")

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.cat([dataset[index] for dataset in self.datasets])

    def gather(self, reader: BatchReader) -> Ragged:
        return concatenate([reader.gather(dataset) for dataset in self.datasets])

    def sources(self) -> tuple:
        return self.datasets

    def __len__(self) -> int:
        return len(self.datasets[0])

    def collater(self, samples: list) -> Any:
        return self.datasets[0].collater(samples)

    @property
    def sizes(self) -> np.ndarray:
        return np.sum([dataset.sizes for dataset in self.datasets], axis=0)

    def num_tokens(self, index: int) -> int:
        return sum(dataset.num_tokens(index) for dataset in self.datasets)

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.sum([dataset.num_tokens_vec(indices) for dataset in self.datasets], axis=0)

    def size(self, index: int) -> int:
        return sum(dataset.size(index) for dataset in self.datasets)

    def ordered_indices(self) -> np.ndarray:
        return self.datasets[0].ordered_indices()

    @property
    def supports_prefetch(self) -> bool:
        return any(getattr(dataset, "supports_prefetch", False) for dataset in self.datasets)

    def prefetch(self, indices: Any) -> None:
        for dataset in self.datasets:
            if getattr(dataset, "supports_prefetch", False):
                dataset.prefetch(indices)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return all(getattr(dataset, "can_reuse_epoch_itr_across_epochs", True) for dataset in self.datasets)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        for dataset in self.datasets:
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
