"""Items with a number of their own in each batch, which the model may see."""

from collections.abc import Callable
from typing import Any

import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class ColorizeDataset(BaseWrapperDataset):
    """Adds `net_input.colors` (B,) to batches.

    Args:
        color_getter: called with the data set and an item's id; gives its number.
    """

    def __init__(self, dataset: Any, color_getter: Callable[[Any, int], int]):
        super().__init__(dataset)
        self.color_getter = color_getter

    def collater(self, samples: list) -> Any:
        batch = super().collater(samples)
        colors = [self.color_getter(self.dataset, sample["id"]) for sample in samples]
        batch["net_input"]["colors"] = torch.tensor(colors, dtype=torch.long)
        return batch
