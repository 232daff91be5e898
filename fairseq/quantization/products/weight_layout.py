"""How a weight of more axes, or with its axes in another order, is a matrix with a row for each output.

>>> layout = WeightLayout((4, 3, 2), by_second=True, groups=2)             # of a ConvTranspose1d(4, 6, 2, groups=2)
>>> weight = torch.arange(24.0).view(4, 3, 2)
>>> layout.matrix(weight).shape, torch.equal(layout.weight(layout.matrix(weight)), weight)
(torch.Size([6, 4]), True)
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor


def rows_of_first(weight: Tensor) -> Tensor:
    """(A, B, *K) -> (A, B * K): a row for each channel of the first axis."""
    return weight.flatten(1)


def rows_of_second(weight: Tensor, groups: int) -> Tensor:
    """(A, B, *K) -> (G * B, A/G * K): a row for each channel of the second axis in each group."""
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2).flatten(0, 1)


def from_rows_of_second(matrix: Tensor, shape: tuple[int, ...], groups: int) -> Tensor:
    """Undo `rows_of_second` for a weight of `shape`."""
    first, second, *kernel = shape
    parts = matrix.reshape(groups, second, first // groups, *kernel).transpose(1, 2)
    return parts.reshape(shape)


class WeightLayout(NamedTuple):
    """How a layer's weight lies in memory.

    Attributes:
        shape: the weight's.
        by_second: outputs lie along its second axis (transposed convolutions, Conv1D of transformers).
        groups: into which its first axis falls, each with outputs of its own; 1 without `by_second`.
    """

    shape: tuple[int, ...]
    by_second: bool = False
    groups: int = 1

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight (R, C)."""
        return rows_of_second(weight, self.groups) if self.by_second else rows_of_first(weight)

    def weight(self, matrix: Tensor) -> Tensor:
        """Undo `matrix`."""
        if self.by_second:
            return from_rows_of_second(matrix, self.shape, self.groups)
        return matrix.reshape(self.shape)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {**self._asdict(), "shape": list(self.shape)}

    @classmethod
    def read(cls, entry: Any, matrix: tuple[int, int]) -> Optional["WeightLayout"]:
        """The layout that `as_dict` wrote, of a weight that is a matrix of that shape; None of None.

        Raises:
            ValueError: it is something else.
        """
        if entry is None:
            return None
        error = ValueError("has a layout that its codes do not fit")
        if not isinstance(entry, dict) or set(entry) != set(cls._fields):
            raise error
        shape, by_second, groups = (entry[name] for name in cls._fields)
        sizes = [*shape, groups] if isinstance(shape, (list, tuple)) and 2 <= len(shape) <= 5 else [None]
        if type(by_second) is not bool or any(type(size) is not int or size < 1 for size in sizes):
            raise error
        found = cls(tuple(shape), by_second, groups)
        if shape[0] % groups or (groups > 1 and not by_second):
            raise error
        if tuple(found.matrix(torch.empty(found.shape, device="meta")).shape) != matrix:
            raise error
        return found
