"""An item of each of several data sets at once; shorter ones begin again."""

from collections import OrderedDict
from typing import Any, Optional

import numpy as np

from fairseq.data.fairseq_dataset import FairseqDataset


class RoundRobinZipDatasets(FairseqDataset):
    """Items are key -> item; there are as many as the longest data set has.

    Args:
        eval_key: hand out the items and batches of this one alone.
    """

    def __init__(self, datasets: "OrderedDict[str, Any]", eval_key: Optional[str] = None):
        super().__init__()
        if isinstance(datasets, dict):
            datasets = OrderedDict(datasets)
        assert isinstance(datasets, OrderedDict) and datasets, "RoundRobinZipDatasets takes a dict of data sets"
        self.datasets, self.eval_key = datasets, eval_key
        self.longest_dataset_key = max(datasets, key=lambda key: len(datasets[key]))
        self.longest_dataset = datasets[self.longest_dataset_key]
        self._ordered_indices: Optional[dict[str, np.ndarray]] = None

    def _map_index(self, key: str, index: int) -> int:
        assert self._ordered_indices is not None, "call ordered_indices first"
        own = self._ordered_indices[key]
        return int(own[index % len(own)])

    def __getitem__(self, index: int) -> Any:
        if self.eval_key is not None:
            return self.datasets[self.eval_key][self._map_index(self.eval_key, index)]
        return OrderedDict((key, data[self._map_index(key, index)]) for key, data in self.datasets.items())

    def __len__(self) -> int:
        if self._ordered_indices is not None:
            return len(self._ordered_indices[self.longest_dataset_key])
        return len(self.longest_dataset)

    def collater(self, samples: list) -> Any:
        if not samples:
            return None
        if self.eval_key is not None:
            return self.datasets[self.eval_key].collater(samples)
        return OrderedDict((key, data.collater([s[key] for s in samples])) for key, data in self.datasets.items())

    def num_tokens(self, index: int) -> int:
        """The most that any of them has."""
        return max(data.num_tokens(self._map_index(key, index)) for key, data in self.datasets.items())

    def size(self, index: int) -> Any:
        return {key: data.size(self._map_index(key, index)) for key, data in self.datasets.items()}

    def ordered_indices(self) -> np.ndarray:
        """All of them, in the order of the longest one; the others are in an order of their own."""
        if self._ordered_indices is None:
            # whoever batches asks the data sets for their orders once: they may be random
            self._ordered_indices = OrderedDict((key, data.ordered_indices()) for key, data in self.datasets.items())
        return np.arange(len(self))

    def filter_indices_by_size(self, indices: Any, max_positions: Any = None) -> tuple[Any, list]:
        """Leave out, in each of them, what is too long; `max_positions` maps keys to limits."""
        self.ordered_indices()
        assert self._ordered_indices is not None
        ignored: dict[str, list] = {}
        for key, data in self.datasets.items():
            limit = max_positions[key] if isinstance(max_positions, dict) else max_positions
            kept, left_out = data.filter_indices_by_size(self._ordered_indices[key], limit)
            self._ordered_indices[key] = np.asarray(kept)
            if len(left_out):
                ignored[key] = left_out
        return range(len(self)), next(iter(ignored.values())) if ignored else []

    @property
    def supports_prefetch(self) -> bool:
        return all(getattr(data, "supports_prefetch", False) for data in self.datasets.values())

    def prefetch(self, indices: Any) -> None:
        for key, data in self.datasets.items():
            data.prefetch([self._map_index(key, index) for index in indices])
