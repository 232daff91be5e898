"""A part of a dataset by its name: `train[:90%]` and `train[90%:]` have no example in common and make up `train`.

Percentages are of the examples in one random order, which depends on their number alone: files may have their classes
one after the other. So every process, and every later run, has the same parts.

>>> SubsetName.parse("train[90%:]")
SubsetName(base='train', start=90.0, end=100.0)
>>> SubsetName.parse("valid1") is None
True
"""

import re
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.ragged import BatchReader, Ragged
from fairseq.errors import ConfigError

SEED = 1
_FORM = re.compile(r"(?P<base>[^\[\]]+)\[(?:(?P<start>[\d.]+)%)?:(?:(?P<end>[\d.]+)%)?\]")


@dataclass(frozen=True)
class SubsetName:
    """A subset as a data folder has it, and the part of it in percent."""

    base: str
    start: float
    end: float

    @classmethod
    def parse(cls, name: str) -> "Optional[SubsetName]":
        """What `name` says; None where it names no part.

        Raises:
            ConfigError: brackets that say something else.
        """
        if "[" not in name:
            return None
        found = _FORM.fullmatch(name)
        try:
            start, end = (float(text) if text else default for text, default in zip(
                (found["start"], found["end"]), (0.0, 100.0), strict=True
            )) if found else (1.0, 0.0)  # fmt: skip
        except ValueError:
            start, end = 1.0, 0.0
        if found is None or not 0 <= start < end <= 100:
            raise ConfigError(
                f"subset {name!r}: a part of a subset is written train[:90%], train[90%:] or train[5%:10%]"
            )
        return cls(found["base"], start, end)


class PartOfDataset(BaseWrapperDataset):
    """Some examples of `dataset`, which stay in its order.

    Args:
        indices: their numbers, ascending.
    """

    def __init__(self, dataset: Any, indices: np.ndarray):
        super().__init__(dataset)
        self.indices = np.asarray(indices, dtype=np.int64)

    @classmethod
    def of(cls, dataset: Any, name: SubsetName) -> "PartOfDataset":
        """The part that `name` says.

        Raises:
            ConfigError: there is no example in it.
        """
        order = np.random.RandomState(SEED).permutation(len(dataset))
        first, last = (round(len(dataset) * share / 100) for share in (name.start, name.end))
        if first >= last:
            raise ConfigError(
                f"{name.base}[{name.start:g}%:{name.end:g}%] of {len(dataset)} examples holds none; give a larger part"
            )
        return cls(dataset, np.sort(order[first:last]))

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def sizes(self) -> Any:
        sizes = self.dataset.sizes
        if isinstance(sizes, (list, tuple)) and len(sizes) != len(self.dataset):
            return [np.asarray(each)[self.indices] for each in sizes]
        return np.asarray(sizes)[self.indices]

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(int(self.indices[index]))

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.dataset.num_tokens_vec(self.indices[indices])

    def size(self, index: int) -> Any:
        return self.dataset.size(int(self.indices[index]))

    def ordered_indices(self) -> np.ndarray:
        """As the dataset orders them."""
        place = np.full(len(self.dataset), -1, dtype=np.int64)
        place[self.indices] = np.arange(len(self.indices))
        order = place[np.asarray(self.dataset.ordered_indices(), dtype=np.int64)]
        return order[order >= 0]

    def attr(self, attr: str, index: int) -> Any:
        return self.dataset.attr(attr, int(self.indices[index]))

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(self.indices[np.asarray(indices, dtype=np.int64)])

    def gather(self, reader: BatchReader) -> Ragged:
        return self._reader(reader).gather(self.dataset)

    def collate_batch(self, reader: BatchReader) -> Any:
        return self.dataset.collate_batch(self._reader(reader))

    def _reader(self, reader: BatchReader) -> BatchReader:
        return BatchReader(self.indices[reader.indices].tolist())


def load_subset(task: Any, name: str, **kwargs: Any) -> None:
    """`task.load_dataset`, also for a part of a subset: `task.dataset("train[90%:]")` has it then.

    Args:
        kwargs: for `load_dataset`.

    Raises:
        ConfigError: a name in brackets that is no part, or data that are read one after the other.
    """
    part = SubsetName.parse(name)
    if part is None:
        task.load_dataset(name, **kwargs)
        return
    before = task.datasets.pop(part.base, None)
    task.load_dataset(part.base, **kwargs)
    whole = task.datasets.pop(part.base)
    if before is not None:
        task.datasets[part.base] = before
    if not hasattr(whole, "__len__") or not hasattr(whole, "ordered_indices"):
        raise ConfigError(f"{name}: {part.base} is read one example after the other, so it has no parts")
    task.datasets[name] = PartOfDataset.of(whole, part)
