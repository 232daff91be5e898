"""Batches that each come from one of several data sets, chosen at random."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Optional

import numpy as np

from fairseq.data.fairseq_dataset import FairseqDataset


def uniform_sampler(x: list) -> Any:
    """One of the keys, all equally likely."""
    return np.random.choice(x, 1).item()


class MultiCorpusSampledDataset(FairseqDataset):
    """Items are key -> item; `collater` chooses a key and makes a batch of its items. Shorter data sets begin again.

    Args:
        sampling_func: keys -> the one to take.
    """

    def __init__(self, datasets: "OrderedDict[str, Any]", sampling_func: Optional[Callable[[list], Any]] = None):
        super().__init__()
        assert isinstance(datasets, OrderedDict), "MultiCorpusSampledDataset takes an OrderedDict of data sets"
        self.datasets = datasets
        self.sampling_func = sampling_func if sampling_func is not None else uniform_sampler
        self.total_num_instances = sum(len(data) for data in datasets.values())
        self._ordered_indices: Optional[dict[str, np.ndarray]] = None

    def __len__(self) -> int:
        return self.total_num_instances

    def ordered_indices(self) -> np.ndarray:
        if self._ordered_indices is None:
            self._ordered_indices = OrderedDict((key, data.ordered_indices()) for key, data in self.datasets.items())
        return np.arange(len(self))

    def _map_index_to_dataset(self, key: Any, index: int) -> int:
        assert self._ordered_indices is not None, "call ordered_indices first"
        own = self._ordered_indices[key]
        return int(own[index % len(own)])

    def __getitem__(self, index: int) -> Any:
        return OrderedDict((key, data[self._map_index_to_dataset(key, index)]) for key, data in self.datasets.items())

    def collater(self, samples: list) -> Any:
        if not samples:
            return None
        key = self.sampling_func(list(self.datasets))
        return self.datasets[key].collater([sample[key] for sample in samples])

    def num_tokens(self, index: int) -> int:
        """The most that any of them has."""
        return max(data.num_tokens(self._map_index_to_dataset(key, index)) for key, data in self.datasets.items())

    def size(self, index: int) -> int:
        return max(data.size(self._map_index_to_dataset(key, index)) for key, data in self.datasets.items())

    @property
    def supports_prefetch(self) -> bool:
        return all(getattr(data, "supports_prefetch", False) for data in self.datasets.values())

    def prefetch(self, indices: Any) -> None:
        for key, data in self.datasets.items():
            data.prefetch([self._map_index_to_dataset(key, index) for index in indices])

    @property
    def supports_fetch_outside_dataloader(self) -> bool:
        return all(getattr(data, "supports_fetch_outside_dataloader", True) for data in self.datasets.values())
