"""Items rotated by `shifts` places: 1 turns a sequence into the decoder input that predicts it."""

from typing import Any

import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class RollDataset(BaseWrapperDataset):
    def __init__(self, dataset: Any, shifts: int):
        super().__init__(dataset)
        self.shifts = shifts

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.roll(self.dataset[index], self.shifts)
