"""Remembers the items read last, for datasets that several others read."""

from functools import lru_cache
from typing import Any, Optional

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset

_ITEMS = 8


class LRUCacheDataset(BaseWrapperDataset):
    """Items already read come from memory (the last 8); a new epoch forgets them."""

    def __init__(self, dataset: Any, token: Optional[int] = None):
        super().__init__(dataset)
        self._remember()

    def _remember(self) -> None:
        self._read = lru_cache(maxsize=_ITEMS)(self.dataset.__getitem__)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_read"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._remember()

    def __getitem__(self, index: int) -> Any:
        return self._read(index)

    def gather(self, reader: Any) -> Any:
        return reader.gather(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self._remember()
