"""Items with some tokens replaced by others.

>>> import torch
>>> ReplaceDataset([torch.tensor([5, 6, 5])], {5: 9}, offsets=[1])[0]
tensor([5, 6, 9])
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class ReplaceDataset(BaseWrapperDataset):
    """Each token that is a key of `replace_map` becomes its value.

    Args:
        offsets: per tensor of an item (one, or a tuple): leave out the first n tokens, or the last -n if negative.
    """

    def __init__(self, dataset: Any, replace_map: Mapping[int, int], offsets: Sequence[int]):
        super().__init__(dataset)
        assert len(replace_map) > 0
        self.replace_map = replace_map
        self.offsets = offsets

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        tensors = item if isinstance(item, tuple) else (item,)
        for offset, tensor in zip(self.offsets, tensors, strict=False):
            part = tensor[offset:] if offset >= 0 else tensor[:offset]
            for old, new in self.replace_map.items():
                part.masked_fill_(part == old, new)
        return item
