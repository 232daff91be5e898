"""Items with a token in front that depends on the item."""

from collections.abc import Callable
from typing import Any, Optional

import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class PrependDataset(BaseWrapperDataset):
    """Each item's first token is replaced by `prepend_getter(dataset, index)`.

    Args:
        ensure_first_token_is: what the first token must be before.
    """

    def __init__(
        self, dataset: Any, prepend_getter: Callable[[Any, int], int], ensure_first_token_is: Optional[int] = None
    ):
        super().__init__(dataset)
        self.prepend_getter = prepend_getter
        self.ensure_first_token = ensure_first_token_is

    def __getitem__(self, idx: int) -> Any:
        item = self.dataset[idx]
        is_tuple = isinstance(item, tuple)
        source = item[0] if is_tuple else item
        assert self.ensure_first_token is None or source[0] == self.ensure_first_token
        token = self.prepend_getter(self.dataset, idx)
        assert isinstance(token, int)
        source[0] = torch.tensor(token)
        return (source, *item[1:]) if is_tuple else source
