"""What `AppendTokenDataset` and `PrependTokenDataset` have in common: items that are one token longer."""

from typing import Any, Optional

import numpy as np

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class AddedTokenDataset(BaseWrapperDataset):
    """`token` None leaves items as they are. Subclasses say where the token goes."""

    def __init__(self, dataset: Any, token: Optional[int] = None):
        super().__init__(dataset)
        self.token = token
        self._added = int(token is not None)

    @property
    def sizes(self) -> np.ndarray:
        return np.asarray(self.dataset.sizes) + self._added

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(index) + self._added

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.dataset.num_tokens_vec(indices) + self._added

    def size(self, index: int) -> int:
        return self.dataset.size(index) + self._added
