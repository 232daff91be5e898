"""A (nested) dictionary of datasets read as one dataset of dictionaries.

    NestedDictionaryDataset(
        {
            "id": IdDataset(),
            "net_input": {"src_tokens": RightPadDataset(tokens, pad_idx=1)},
            "nsentences": NumSamplesDataset(),
        },
        sizes=[tokens.sizes],
    )

Its batches have the same shape: `{"id": ..., "net_input": {"src_tokens": ...}, "nsentences": ...}`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import torch.utils.data
from torch.utils.data.dataloader import default_collate

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.ragged import BatchReader, can_collate
from fairseq.errors import DataError


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": x}} -> {"a.b": x}"""
    flat = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": x} -> {"a": {"b": x}}"""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return nested


class NestedDictionaryDataset(FairseqDataset):
    """Items are flat dictionaries `{"net_input.src_tokens": ...}`, batches nested ones.

    Args:
        defn: the datasets; those with `len(...) == 0` fit any length.
        sizes: array(s) of sizes of the items, one per input.
    """

    def __init__(self, defn: Mapping[str, Any], sizes: Optional[Any] = None):
        super().__init__()
        self.defn = _flatten(defn)
        self.sizes: Sequence[Any] = sizes if isinstance(sizes, (list, tuple)) else [sizes]
        self._length = 0
        for name, dataset in self.defn.items():
            if not isinstance(dataset, torch.utils.data.Dataset):
                raise ValueError(f"{name} is a {type(dataset).__name__}, expected a Dataset")
            if len(dataset) and self._length and len(dataset) != self._length:  # type: ignore[arg-type]
                raise DataError(
                    f"{name} has {len(dataset)} items, {self._length} expected; preprocess the data again"  # type: ignore[arg-type]
                )
            self._length = self._length or len(dataset)  # type: ignore[arg-type]
        self._whole = [name for name, dataset in self.defn.items() if can_collate(dataset)]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: dataset[index] for name, dataset in self.defn.items()}

    def __len__(self) -> int:
        return self._length

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        if not samples:
            return {}
        return _unflatten(
            {
                name: getattr(dataset, "collater", default_collate)([sample[name] for sample in samples])
                for name, dataset in self.defn.items()
            }
        )

    def collate_batch(self, reader: BatchReader) -> dict[str, Any]:
        batch = {name: self.defn[name].collate_batch(reader) for name in self._whole}
        one_by_one = {name: dataset for name, dataset in self.defn.items() if name not in self._whole}
        # item by item, not dataset by dataset: datasets that share an item then find it in their cache
        rows = [[dataset[i] for dataset in one_by_one.values()] for i in reader.indices.tolist()]
        for (name, dataset), samples in zip(one_by_one.items(), zip(*rows, strict=True), strict=False):
            batch[name] = getattr(dataset, "collater", default_collate)(list(samples))
        return _unflatten({name: batch[name] for name in self.defn})

    def num_tokens(self, index: int) -> int:
        return max(sizes[index] for sizes in self.sizes)

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        if self.sizes[0] is None:
            raise NotImplementedError
        return np.max([np.asarray(sizes)[indices] for sizes in self.sizes], axis=0)

    def size(self, index: int) -> Any:
        if len(self.sizes) == 1:
            return self.sizes[0][index]
        return tuple(sizes[index] for sizes in self.sizes)

    @property
    def supports_prefetch(self) -> bool:
        return any(getattr(dataset, "supports_prefetch", False) for dataset in self.defn.values())

    def prefetch(self, indices: Any) -> None:
        for dataset in self.defn.values():
            if getattr(dataset, "supports_prefetch", False):
                dataset.prefetch(indices)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return all(getattr(dataset, "can_reuse_epoch_itr_across_epochs", True) for dataset in self.defn.values())

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        for dataset in self.defn.values():
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
