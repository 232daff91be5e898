"""Reading a whole batch at once.

A batch of sequences of different lengths is held as one array of all elements and one of lengths:

    [[5, 6], [7]]  ->  Ragged(flat=[5, 6, 7], lengths=[2, 1])

Datasets that implement `gather` produce it, wrappers change it with a few array operations, and `pad` makes the matrix.
That replaces a chain of Python calls per item. It is an optional short cut: a dataset without it is read item by item
and collated by its `collater`, and so is a subclass that overrides only `__getitem__` or `collater` (see `can_gather`).

>>> Ragged(np.array([5, 6, 7]), np.array([2, 1])).insert(0).pad(1)
array([[0, 5, 6],
       [0, 7, 1]])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Ragged:
    """`flat` `(sum(lengths),)`, `lengths` `(B,)`."""

    flat: np.ndarray
    lengths: np.ndarray

    def starts(self) -> np.ndarray:
        """Where each sequence begins in `flat`."""
        return np.cumsum(self.lengths) - self.lengths

    def rows(self) -> np.ndarray:
        """Which sequence each element belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def insert(self, token: int) -> "Ragged":
        """Every sequence with `token` in front."""
        return Ragged(np.insert(self.flat, self.starts(), token), self.lengths + 1)

    def append(self, token: int) -> "Ragged":
        """Every sequence with `token` at its end."""
        return Ragged(np.insert(self.flat, np.cumsum(self.lengths), token), self.lengths + 1)

    def shift(self, token: int) -> "Ragged":
        """Every sequence with `token` in front and without its last element."""
        flat = np.roll(self.flat, 1)
        flat[self.starts()[self.lengths > 0]] = token
        return Ragged(flat, self.lengths)

    def keep(self, mask: np.ndarray) -> "Ragged":
        """Only the elements where `mask` is true."""
        return Ragged(self.flat[mask], np.bincount(self.rows()[mask], minlength=len(self.lengths)))

    def strip(self, token: int) -> "Ragged":
        """Every sequence without the `token`s at its ends."""
        other = self.flat != token
        seen = np.concatenate([[0], np.cumsum(other)])  # how many other elements there are before each place
        starts = self.starts()
        from_left = seen[1:] - np.repeat(seen[starts], self.lengths)
        from_right = np.repeat(seen[starts + self.lengths], self.lengths) - seen[:-1]
        return self.keep((from_left > 0) & (from_right > 0))

    def truncate(self, length: int) -> "Ragged":
        """The first `length` elements of every sequence."""
        if not len(self.lengths) or self.lengths.max() <= length:
            return self
        return self.keep(np.arange(len(self.flat)) - np.repeat(self.starts(), self.lengths) < length)

    def pad(self, value: int, left: bool = False, width: int = 0) -> np.ndarray:
        """`(B, max(width, longest))`, filled up with `value` on the right or left."""
        width = max(width, int(self.lengths.max(initial=0)))
        matrix = np.full((len(self.lengths), width), value, self.flat.dtype)
        columns = np.arange(width)
        matrix[columns >= width - self.lengths[:, None] if left else columns < self.lengths[:, None]] = self.flat
        return matrix


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """Sequence i of the result is sequence i of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    lengths = sum(part.lengths.astype(np.int64) for part in parts)
    assert isinstance(lengths, np.ndarray)
    flat = np.empty(int(lengths.sum()), parts[0].flat.dtype)
    starts = np.cumsum(lengths) - lengths
    for part in parts:
        flat[np.arange(len(part.flat)) + np.repeat(starts - part.starts(), part.lengths)] = part.flat
        starts = starts + part.lengths
    return Ragged(flat, lengths)


def from_items(items: Sequence[np.ndarray]) -> Ragged:
    """The sequences read one by one."""
    return Ragged(np.concatenate(items), np.array([len(item) for item in items]))


class BatchReader:
    """Reads the items `indices` of datasets, each dataset once however many others are built on it."""

    def __init__(self, indices: Sequence[int]):
        self.indices = np.asarray(indices, dtype=np.int64)
        self._read: dict[int, Ragged] = {}

    def gather(self, dataset: Any) -> Ragged:
        """The items of a dataset that `can_gather`."""
        key = id(dataset)
        if key not in self._read:
            self._read[key] = dataset.gather(self)
        return self._read[key]


def can_gather(dataset: Any) -> bool:
    """True where `dataset.gather` gives the same as reading its items.

    The class that defines its `__getitem__` must define `gather` too; and so on for the datasets it reads from.
    """
    return _consistent(dataset, "__getitem__", "gather") and all(map(can_gather, dataset.sources()))


def can_collate(dataset: Any) -> bool:
    """True where `dataset.collate_batch` gives the same as its `collater` over its items."""
    return (
        _consistent(dataset, "collater", "collate_batch")
        and _consistent(dataset, "__getitem__", "gather", "collate_batch")
        and dataset.can_collate_batch()
    )


def _consistent(dataset: Any, slow: str, *fast: str) -> bool:
    """The first class (in method resolution order) that defines `slow` also defines one of `fast`."""
    for cls in type(dataset).__mro__:
        if slow in vars(cls):
            return any(name in vars(cls) for name in fast)
    return False
