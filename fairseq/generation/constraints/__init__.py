"""Phrases that a translation must contain, as states that advance word by word.

`pack_constraints` puts a batch's phrases into one tensor, a row for each sentence: their number, then each phrase
followed by 0, then zeros.

>>> packed = pack_constraints([[torch.tensor([4, 5]), torch.tensor([6])], []])
>>> packed
tensor([[2, 4, 5, 0, 6, 0],
        [0, 0, 0, 0, 0, 0]])
>>> unpack_constraints(packed[0])
[tensor([4, 5]), tensor([6])]
"""

import torch
from torch import Tensor

from fairseq.errors import DataError


def pack_constraints(batch_constraints: list[list[Tensor]]) -> Tensor:
    """The phrases of each sentence as one tensor (B, N).

    Raises:
        DataError: a phrase is empty or contains 0, which separates them.
    """
    rows = []
    for phrases in batch_constraints:
        row = [len(phrases)]
        for phrase in phrases:
            words = phrase.tolist()
            if not words or 0 in words:
                raise DataError(f"a constraint must be words other than 0, not {words}")
            row += [*words, 0]
        rows.append(row)
    width = max(map(len, rows), default=0)
    return torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.long)


def unpack_constraints(constraint_tensor: Tensor) -> list[Tensor]:
    """The phrases in a packed row (N,)."""
    count, *words = constraint_tensor.tolist()
    phrases, start = [], 1
    for _ in range(count):
        stop = words.index(0, start - 1) + 1
        phrases.append(constraint_tensor[start:stop])
        start = stop + 1
    return phrases
