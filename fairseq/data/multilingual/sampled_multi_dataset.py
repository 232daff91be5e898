"""Several data sets as one, each with its share: small ones are repeated, of large ones an epoch sees a part.

    mixed = SampledMultiDataset(OrderedDict([("de-en", large), ("fr-en", small)]), sampling_ratios=[0.6, 0.4])
    mixed.set_epoch(2)      # draws again

What an epoch holds depends on the seed and the epoch alone.
"""

import hashlib
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Optional, Union

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.filtering import filter_indices

logger = logging.getLogger(__name__)

VirtualSize = Union[int, Callable[..., int], None]


class CollateFormat(Enum):
    """What batches are: one batch of all data sets, or a batch for each key."""

    single = 1
    ordered_dict = 2


def default_virtual_size_func(datasets: Sequence[Any], ratios: Optional[Any], max_scale_up: float = 1.5) -> int:
    """So many items that the largest data set is seen once, but at most `max_scale_up` times what there is."""
    sizes = [len(dataset) for dataset in datasets]
    if ratios is None:
        return sum(sizes)
    largest = int(np.argmax(sizes))
    wanted = sum(ratio / ratios[largest] * sizes[largest] for ratio in ratios)
    return int(min(wanted, sum(sizes) * max_scale_up))


class SampledMultiDataset(FairseqDataset):
    """A mixture of data sets; see the head of this file.

    Args:
        datasets: by key, or a list.
        sampling_ratios: shares, which need not add up to 1; None: every data set once.
        seed: of what is drawn.
        epoch: to begin with.
        eval_key: hand out the items of this data set alone.
        collate_format: see `CollateFormat`.
        virtual_size: items of an epoch, or a function of data sets and shares; default: `default_virtual_size_func`.
        split: for the log.
        shared_collater: the first data set's `collater` serves all.
        shuffle: items of like length in random order.
    """

    def __init__(
        self,
        datasets: Any,
        sampling_ratios: Optional[Sequence[float]] = None,
        seed: int = 2,
        epoch: int = 1,
        eval_key: Optional[str] = None,
        collate_format: CollateFormat = CollateFormat.single,
        virtual_size: VirtualSize = default_virtual_size_func,
        split: str = "",
        shared_collater: bool = False,
        shuffle: bool = True,
    ):
        super().__init__()
        self.keys = list(datasets) if isinstance(datasets, dict) else list(range(len(datasets)))
        self.datasets = list(datasets.values()) if isinstance(datasets, dict) else list(datasets)
        self.seed, self.split, self.shuffle = seed, split, shuffle
        self.eval_key, self.collate_format, self.shared_collater = eval_key, collate_format, shared_collater
        self._cur_epoch: Optional[int] = None
        self.setup_sampling(sampling_ratios, virtual_size)
        self.set_epoch(epoch)

    def setup_sampling(self, sample_ratios: Optional[Sequence[float]], virtual_size: VirtualSize) -> None:
        """Take over shares and size."""
        self.sample_ratios = None if sample_ratios is None else np.array(sample_ratios, dtype=float)
        if self.sample_ratios is not None:
            total = self.sample_ratios.sum()
            if not total > 0 or (self.sample_ratios < 0).any():
                raise ValueError(f"shares of data sets must not be negative, nor all zero: {list(sample_ratios or ())}")
            self.sample_ratios = self.sample_ratios / total
        if callable(virtual_size):
            virtual_size = virtual_size(self.datasets, self.sample_ratios)
        elif virtual_size is None or self.sample_ratios is None:
            virtual_size = default_virtual_size_func(self.datasets, self.sample_ratios)
        self.virtual_size = int(virtual_size)

    def adjust_sampling(self, epoch: int, sampling_ratios: Sequence[float], virtual_size: VirtualSize) -> None:
        """Other shares, from the next `set_epoch` on."""
        if sampling_ratios is not None:
            self.setup_sampling(sampling_ratios, virtual_size)
            self._cur_epoch = None

    # -- what an epoch holds -----------------------------------------------------------------------------------------

    def _generator(self, epoch: int) -> np.random.RandomState:
        """As in fairseq: from the name of the class, the seed and the epoch."""
        name = int(hashlib.sha1(type(self).__name__.encode()).hexdigest(), 16)
        return np.random.RandomState([name % 2**32, self.seed % 2**32, epoch])

    def random_choice_in_dataset(self, rng: np.random.RandomState, dataset: Any, choice_size: int) -> np.ndarray:
        """Numbers of items, different ones where there are enough."""
        if hasattr(dataset, "random_choice_in_dataset"):
            return dataset.random_choice_in_dataset(rng, choice_size)
        return rng.choice(len(dataset), choice_size, replace=choice_size > len(dataset))

    def get_virtual_indices(
        self, rng: np.random.RandomState, datasets: Sequence[Any], sample_ratios: Optional[Any], virtual_size: int
    ) -> list[np.ndarray]:
        """For each data set the numbers of its items that an epoch holds."""
        if sample_ratios is None:
            return [np.arange(len(dataset)) for dataset in datasets]
        counts = (virtual_size * np.asarray(sample_ratios)).astype(np.int64)
        missing = virtual_size - int(counts.sum())
        if missing > 0:
            np.add.at(counts, rng.choice(len(counts), size=missing, p=sample_ratios), 1)
        return [
            self.random_choice_in_dataset(rng, dataset, count)
            for dataset, count in zip(datasets, counts.tolist(), strict=True)
        ]

    def _draw(self, epoch: int) -> None:
        self._cur_indices = self.get_virtual_indices(
            self._generator(epoch), self.datasets, self.sample_ratios, self.virtual_size
        )
        self.virtual_size_per_dataset = np.array([len(indices) for indices in self._cur_indices])
        self.cumulated_sizes = np.cumsum(self.virtual_size_per_dataset)
        self.virtual_size = int(self.cumulated_sizes[-1])
        self._which = np.repeat(np.arange(len(self.datasets)), self.virtual_size_per_dataset)
        self._where = np.concatenate(self._cur_indices).astype(np.int64)
        named = dict(zip(self.keys, self.virtual_size_per_dataset.tolist(), strict=True))
        logger.info(f"[{self.split}] Resampled sizes: {named}; resampled total size: {self.virtual_size}")

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return False

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if epoch == self._cur_epoch:
            return
        for dataset in self.datasets:
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
        self._cur_epoch = epoch
        self._draw_for(epoch)

    def _draw_for(self, epoch: int) -> None:
        self._draw(epoch)

    # -- items -------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.virtual_size

    def _places(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        """Which data sets the items are in, and where."""
        return self._which[indices], self._where[indices]

    def _get_dataset_and_index(self, index: int) -> tuple[int, int]:
        which, where = self._places(np.array([index]))
        return int(which[0]), int(where[0])

    def __getitem__(self, index: int) -> tuple[int, Any]:
        """The number of its data set, and the item."""
        which, where = self._get_dataset_and_index(index)
        return which, self.datasets[which][where]

    def num_tokens(self, index: int) -> int:
        which, where = self._get_dataset_and_index(index)
        return self.datasets[which].num_tokens(where)

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        sizes = self.sizes[np.asarray(indices)]
        return sizes.max(axis=1) if sizes.ndim > 1 else sizes

    def size(self, index: int) -> Any:
        which, where = self._get_dataset_and_index(index)
        return self.datasets[which].size(where)

    @property
    def sizes(self) -> np.ndarray:
        """Of the items of the epoch: `(N, 2)` for pairs, else `(N,)`."""
        which, where = self._places(slice(None))
        each = [np.asarray(dataset.sizes) for dataset in self.datasets]
        found = np.empty((len(which), *each[0].shape[1:]), dtype=each[0].dtype)
        for number, sizes in enumerate(each):
            found[which == number] = sizes[where[which == number]]
        return found

    def ordered_indices(self) -> np.ndarray:
        """By length of the source, then of the target; items of like lengths in random order with `shuffle`."""
        indices = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        sizes = self.sizes
        for column in (1, 0) if sizes.ndim > 1 else (None,):
            lengths = sizes if column is None else sizes[:, column]
            indices = indices[np.argsort(lengths[indices], kind="mergesort")]
        return indices

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        sizes = self.sizes
        if max_sizes is None:
            return indices, []
        if sizes.ndim == 1 or not isinstance(max_sizes, (int, float, tuple, list)):
            return filter_indices(indices, self, max_sizes)
        limits = (max_sizes,) * sizes.shape[1] if isinstance(max_sizes, (int, float)) else max_sizes
        too_long = np.zeros(len(indices), dtype=bool)
        for column, limit in enumerate(limits):
            if limit is not None:
                too_long |= sizes[indices, column] > limit
        return indices[~too_long], indices[too_long].tolist()

    @property
    def supports_prefetch(self) -> bool:
        return False

    def prefetch(self, indices: Any) -> None:
        """Every data set reads what is needed of it."""
        which, where = self._places(np.asarray(indices))
        for number, dataset in enumerate(self.datasets):
            dataset.prefetch(where[which == number].tolist())

    # -- batches -----------------------------------------------------------------------------------------------------

    def collater(self, samples: list[tuple[int, Any]], **extra_args: Any) -> Any:
        """A batch of items, or with `CollateFormat.ordered_dict` key -> batch."""
        if not samples:
            return None
        if self.collate_format is CollateFormat.ordered_dict:
            by_key = OrderedDict(
                (key, dataset.collater([item for which, item in samples if which == number]))
                for number, (key, dataset) in enumerate(zip(self.keys, self.datasets, strict=True))
            )
            return by_key if self.eval_key is None else by_key[self.eval_key]
        if self.shared_collater:
            return self.datasets[0].collater([item for _, item in samples])
        items: dict[int, list] = defaultdict(list)
        for which, item in samples:
            items[which].append(item)
        width = {
            side: max((len(item[side]) for _, item in samples if item.get(side) is not None), default=0)
            for side in ("source", "target")
        }
        return _joined([self.datasets[which].collater(items[which], pad_to_length=width) for which in sorted(items)])


def _joined(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """One batch of batches of pairs that are padded to the same widths: the longest sources first."""
    first = batches[0]
    lengths = torch.cat([batch["net_input"]["src_lengths"] for batch in batches])
    order = lengths.sort(descending=True, stable=True).indices

    def rows(read: Callable[[dict[str, Any]], Any]) -> torch.Tensor:
        return torch.cat([read(batch) for batch in batches], dim=0)[order]

    net_input = {key: rows(lambda batch, key=key: batch["net_input"][key]) for key in first["net_input"]}  # type: ignore[misc]
    joined: dict[str, Any] = {
        "id": rows(lambda batch: batch["id"]),
        "nsentences": sum(batch["nsentences"] for batch in batches),
        "ntokens": sum(batch["ntokens"] for batch in batches),
        "net_input": net_input,
        "target": None if first["target"] is None else rows(lambda batch: batch["target"]),
    }
    if "tgt_lang_id" in first:
        joined["tgt_lang_id"] = rows(lambda batch: batch["tgt_lang_id"])
    return joined
