"""From a list of sequences to one padded matrix, and from lengths to masks.

>>> collate_tokens([torch.tensor([5, 6, 2]), torch.tensor([7, 2])], pad_idx=1)
tensor([[5, 6, 2],
        [7, 2, 1]])
>>> collate_tokens([torch.tensor([5, 6, 2])], pad_idx=1, eos_idx=2, move_eos_to_beginning=True)
tensor([[2, 5, 6]])
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import torch


def padded_size(size: int, pad_to_length: Optional[int] = None, pad_to_multiple: int = 1) -> int:
    """`size`, or `pad_to_length` if that is more, rounded up to a multiple.

    >>> padded_size(13, 10, 8)
    16
    """
    size = max(size, pad_to_length or 0)
    return -(-size // pad_to_multiple) * pad_to_multiple


def collate_tokens(
    values: Sequence[torch.Tensor],
    pad_idx: float,
    eos_idx: Optional[int] = None,
    left_pad: bool = False,
    move_eos_to_beginning: bool = False,
    pad_to_length: Optional[int] = None,
    pad_to_multiple: int = 1,
    pad_to_bsz: Optional[int] = None,
) -> torch.Tensor:
    """One-dimensional tensors as the rows of a matrix, padded on the right (or `left_pad`) with `pad_idx`.

    Args:
        eos_idx: what `move_eos_to_beginning` puts in front; None: each sequence's own last element.
        move_eos_to_beginning: shift each sequence right by one, dropping its last element (decoder input from targets).
        pad_to_length, pad_to_multiple: for the width of the matrix.
        pad_to_bsz: the least number of rows; added ones are all padding.
    """
    values = [value.flatten() for value in values]
    lengths = np.array([len(value) for value in values])
    width = padded_size(int(lengths.max()), pad_to_length, pad_to_multiple)
    matrix = values[0].new_full((max(len(values), pad_to_bsz or 0), width), pad_idx)
    if move_eos_to_beginning:
        values = [_eos_first(value, eos_idx) for value in values]
    starts = (width - lengths).tolist() if left_pad else [0] * len(values)
    for row, start, value in zip(matrix, starts, values):  # noqa: B905 (pad_to_bsz adds rows)
        row[start : start + len(value)] = value
    return matrix


def _eos_first(value: torch.Tensor, eos_idx: Optional[int]) -> torch.Tensor:
    shifted = value.roll(1)
    if eos_idx is not None:
        shifted[:1] = eos_idx
    return shifted


def lengths_to_padding_mask(lens: torch.Tensor) -> torch.Tensor:
    """`(B,)` -> bool `(B, max(lens))`, True at padding.

    >>> lengths_to_padding_mask(torch.tensor([1, 2]))
    tensor([[False,  True],
            [False, False]])
    """
    return torch.arange(int(lens.max()), device=lens.device) >= lens[:, None]


def lengths_to_mask(lens: torch.Tensor) -> torch.Tensor:
    """`(B,)` -> bool `(B, max(lens))`, True at tokens."""
    return ~lengths_to_padding_mask(lens)
