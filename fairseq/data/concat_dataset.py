"""Datasets one after the other, each optionally repeated.

>>> from fairseq.data.list_dataset import ListDataset
>>> joined = ConcatDataset([ListDataset("ab", [1, 1]), ListDataset("c", [1])], sample_ratios=[1, 2])
>>> [joined[i] for i in range(len(joined))], joined.cumulative_sizes
(['a', 'b', 'c', 'c'], [2, 4])
"""

import bisect
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
from torch.utils.data.dataloader import default_collate

from fairseq.data.fairseq_dataset import FairseqDataset


class ConcatDataset(FairseqDataset):
    """`sample_ratios`: how often each dataset occurs, one number for all or one each."""

    def __init__(self, datasets: Sequence[Any], sample_ratios: Union[int, Sequence[int]] = 1):
        super().__init__()
        assert len(datasets) > 0, "datasets should not be an empty iterable"
        self.datasets = list(datasets)
        ratios = [sample_ratios] * len(self.datasets) if isinstance(sample_ratios, int) else list(sample_ratios)
        self.sample_ratios = ratios
        self.cumulative_sizes = self.cumsum(self.datasets, ratios)
        self.real_sizes = [len(dataset) for dataset in self.datasets]

    @staticmethod
    def cumsum(sequence: Sequence[Any], sample_ratios: Sequence[int]) -> list[int]:
        """Where each part ends."""
        return np.cumsum([int(ratio * len(part)) for part, ratio in zip(sequence, sample_ratios, strict=True)]).tolist()

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def _get_dataset_and_sample_index(self, idx: int) -> tuple[int, int]:
        if not -len(self) <= idx < len(self):
            raise IndexError(f"index {idx} of {len(self)} items")
        part = bisect.bisect_right(self.cumulative_sizes, idx % len(self))
        start = self.cumulative_sizes[part - 1] if part else 0
        return part, (idx % len(self) - start) % self.real_sizes[part]

    def __getitem__(self, idx: int) -> Any:
        part, index = self._get_dataset_and_sample_index(int(idx))
        return self.datasets[part][index]

    def collater(self, samples: list, **extra_args: Any) -> Any:
        if hasattr(self.datasets[0], "collater"):
            return self.datasets[0].collater(samples, **extra_args)
        return default_collate(samples, **extra_args)

    def size(self, idx: int) -> Any:
        part, index = self._get_dataset_and_sample_index(idx)
        return self.datasets[part].size(index)

    def num_tokens(self, index: int) -> int:
        return int(np.max(self.size(index)))

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices] if self.sizes.ndim == 1 else self.sizes[indices].max(axis=1)

    def attr(self, attr: str, index: int) -> Any:
        part = bisect.bisect_right(self.cumulative_sizes, index)
        return getattr(self.datasets[part], attr, None)

    @property
    def sizes(self) -> np.ndarray:
        """Sizes of all items, `(N,)`, or `(N, 2)` for pairs; computed once."""
        if not hasattr(self, "_sizes"):
            parts = []
            for dataset, ratio in zip(self.datasets, self.sample_ratios, strict=True):
                sizes = dataset.sizes[0] if isinstance(dataset.sizes, list) else dataset.sizes
                # as many as cumsum counts, also for ratios that are no whole number
                parts.append(np.resize(sizes, (int(ratio * len(dataset)), *np.shape(sizes)[1:])))
            self._sizes = np.concatenate(parts)
        return self._sizes

    @property
    def supports_prefetch(self) -> bool:
        return all(getattr(dataset, "supports_prefetch", False) for dataset in self.datasets)

    def ordered_indices(self) -> np.ndarray:
        """By length; for pairs by target, then source length. Equal ones keep their order."""
        if isinstance(self.sizes, np.ndarray) and self.sizes.ndim > 1:
            indices = np.arange(len(self))
            indices = indices[np.argsort(self.sizes[indices, 1], kind="stable")]
            return indices[np.argsort(self.sizes[indices, 0], kind="stable")]
        return np.argsort(self.sizes, kind="stable")

    def prefetch(self, indices: Any) -> None:
        start = 0
        for end, dataset, size in zip(self.cumulative_sizes, self.datasets, self.real_sizes, strict=True):
            if getattr(dataset, "supports_prefetch", False):
                dataset.prefetch([(i - start) % size for i in indices if start <= i < end])
            start = end

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return all(getattr(dataset, "can_reuse_epoch_itr_across_epochs", True) for dataset in self.datasets)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        for dataset in self.datasets:
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
