"""A dataset batched in the order of given keys.

>>> SortDataset(range(3), sort_order=[[2, 0, 1]]).ordered_indices().tolist()
[1, 2, 0]
"""

from collections.abc import Sequence
from typing import Any, Union

import numpy as np

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class SortDataset(BaseWrapperDataset):
    """`sort_order`: one array of keys or several; as in `numpy.lexsort` the last is the most important."""

    def __init__(self, dataset: Any, sort_order: Union[np.ndarray, Sequence[Any]]):
        super().__init__(dataset)
        self.sort_order = sort_order if isinstance(sort_order, (list, tuple)) else [sort_order]
        assert all(len(keys) == len(dataset) for keys in self.sort_order)

    def ordered_indices(self) -> np.ndarray:
        return np.lexsort(self.sort_order)
