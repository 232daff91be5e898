"""Which source words a translation's words come from.

S: source length, T: target length, both with padding and ends.

>>> attention = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
>>> source, target = torch.tensor([5, 6, 2]), torch.tensor([7, 8, 2])
>>> extract_hard_alignment(attention, source, target, pad=1, eos=2)
[(1, 0), (0, 1)]
"""

import math
from collections.abc import Container, Sequence
from itertools import accumulate
from typing import Any, Union

import torch
from torch import Tensor

from fairseq.errors import DataError


def parse_alignment(line: str) -> Tensor:
    """Pairs "source-target" of a line, (2 * pairs,): source and target in turn.

    >>> parse_alignment("0-1 2-0")
    tensor([0, 1, 2, 0], dtype=torch.int32)
    """
    numbers: list[int] = []
    for pair in line.split():
        places = pair.split("-")
        if len(places) != 2 or not all(place.isdecimal() for place in places):
            raise DataError(f"an alignment is written as pairs like 0-1, not {pair!r}")
        numbers += map(int, places)
    return torch.tensor(numbers, dtype=torch.int32)


def get_token_to_word_mapping(tokens: Union[Tensor, Sequence[int]], exclude_list: Container[int]) -> dict[int, int]:
    """For each place, how many tokens up to it are not in `exclude_list`."""
    ids = tokens.tolist() if torch.is_tensor(tokens) else tokens
    return dict(enumerate(accumulate(int(token not in exclude_list) for token in ids)))


def extract_hard_alignment(
    attn: Tensor, src_sent: Tensor, tgt_sent: Tensor, pad: int, eos: int
) -> list[tuple[int, int]]:
    """For each target word, the pair (source word, target word) with the greatest of `attn` (T, S)."""
    no_words = (pad, eos)
    target = ((tgt_sent != pad) & (tgt_sent != eos)).nonzero().squeeze(1)
    no_source = (src_sent == pad) | (src_sent == eos)
    if target.numel() == 0 or bool(no_source.all()):
        return []
    chosen = attn[target].masked_fill(no_source, -math.inf).argmax(dim=1)
    source_words = get_token_to_word_mapping(src_sent, no_words)
    target_words = get_token_to_word_mapping(tgt_sent, no_words)
    pairs = zip(chosen.tolist(), target.tolist(), strict=True)
    return [(source_words[s] - 1, target_words[t] - 1) for s, t in pairs]


def extract_soft_alignment(attn: Tensor, src_sent: Tensor, tgt_sent: Tensor, pad: int, eos: int) -> list[list[str]]:
    """For each target token that is no padding, `attn` (T, S) to each such source token, with six digits."""
    rows = attn[tgt_sent != pad][:, src_sent != pad]
    return [[f"{weight:.6f}" for weight in row] for row in rows.tolist()]


def source_places(alignment: Any) -> dict[int, int]:
    """Target place -> source place, from pairs (source, target) or from the source place of each target place."""
    entries = alignment.tolist() if torch.is_tensor(alignment) else list(alignment if alignment is not None else ())
    if entries and isinstance(entries[0], (tuple, list)):
        return {int(target): int(source) for source, target in entries}
    return {target: int(source) for target, source in enumerate(entries)}
