"""Values near wanted ranks, kept while tensors come: those at the ranks are then known without a second look.

How often each leading digit occurs (`digit_search.py`) says, after any number of tensors, which digits the ranks have
so far. Values of these and of the digits around them are kept, `reach` ranks to either side. Where too many come
together the ends are drawn in, never out again, so that of the digits between them all values are there. The share of
values beyond a quantile of the first n moves by about 1 / sqrt(n), hence reach grows with sqrt(n), 40 times because
values of one text are alike: of 400 million values up to 5 million are kept. Should a rank end outside nevertheless,
everything has to be looked at again.

One value of each digit is not kept but counted, so that many zeros after a ReLU or many equal values need no room.
"""

import math
from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.graph.digit_search import DIGIT, HALF, INTEGERS, keys
from fairseq.graph.statistic_base import chunks

REACH, LEAST_REACH = 40, 2**15  # ranks to either side: so many times sqrt(n), and at least

Ends = list[tuple[int, int]]  # the first and the last digit of each interval, as indices of counts


class NearRanks:
    """Keys of values of one type, which has more than one digit.

    Attributes:
        ends: the intervals that are kept, one for each of the ranks; None: everything is.
        full: it was too much, nothing is kept any more.
    """

    def __init__(self, dtype: torch.dtype):
        self.dtype, self.shift = dtype, 8 * dtype.itemsize - DIGIT
        self.ends: Optional[Ends] = None
        self.limits: list[list[float]] = []  # the numbers they are
        self.parts: list[Tensor] = []
        self.kept = 0
        self.common: Optional[Tensor] = None  # the key of each digit that is not kept
        self.full = False

    def update(self, x: Tensor, counts: Tensor, ranks: Sequence[tuple[int, int]], count: int) -> None:
        """Keep what is needed of `x`.

        Args:
            counts: how often each leading digit occurred so far, in `x` as well.
            ranks: the first and the last of each wanted group of neighbours, if nothing more came.
            count: of all values so far.
        """
        if self.full:
            return
        reach = max(LEAST_REACH, REACH * math.isqrt(count))
        most = 6 * reach
        if self.kept + (x.numel() if self.ends is None else 0) > most:
            self._narrow(counts.cumsum(0), ranks, reach)
        for chunk in chunks(x):
            self._add(chunk.to(self.dtype))
        if self.kept > 4 * most:
            self.full, self.parts = True, []

    def holds(self, counts: Tensor, ranks: Sequence[tuple[int, int]]) -> bool:
        """Whether `settle` will find them."""
        upto = counts.cumsum(0)
        return not self.full and all(
            low <= _digit_at(upto, rank) <= high
            for group, (low, high) in zip(ranks, self.ends or (), strict=False)
            for rank in group
        )

    def settle(self, counts: Tensor, ranks: Sequence[tuple[int, int]]) -> Optional[list[float]]:
        """The values at all these ranks of everything; None if one of them was not kept."""
        if not self.holds(counts, ranks):
            return None
        upto = counts.cumsum(0)
        digits = [[_digit_at(upto, rank) for rank in group] for group in ranks]
        self.parts = [torch.cat(self.parts)]
        found = [
            self._at(digit, rank - int(upto[digit] - counts[digit]), int(counts[digit]))
            for group, own in zip(ranks, digits, strict=True)
            for rank, digit in zip(group, own, strict=True)
        ]
        values: list[float] = keys(torch.stack(found)).view(self.dtype).tolist()
        return values

    def _at(self, digit: int, rank: int, count: int) -> Tensor:
        """The key at a rank of the `count` values that have a digit."""
        assert self.common is not None
        every = self.parts[0]
        common, kept = self.common[digit], every[self._digits(every) == digit].sort().values
        smaller, equal = int(torch.searchsorted(kept, common)), count - len(kept)
        if rank < smaller:
            return kept[rank]
        return common if rank < smaller + equal else kept[rank - equal]

    def _digits(self, every: Tensor) -> Tensor:
        return (every >> self.shift).long() + HALF

    def _add(self, x: Tensor) -> None:
        if self.common is None:
            self.common = torch.zeros(2 * HALF, dtype=INTEGERS[self.dtype.itemsize], device=x.device)
            every = keys(x)
            self.common[self._digits(every)] = every
        if self.ends is not None:
            x = _between(x, self.limits)
        every = keys(x)
        self.parts.append(every[every != self.common[self._digits(every)]])
        self.kept += len(self.parts[-1])

    def _narrow(self, upto: Tensor, ranks: Sequence[tuple[int, int]], reach: int) -> None:
        """Draw the ends in to `reach` ranks around `ranks`, and forget what is outside."""
        ends = [
            (
                _digit_at(upto, low - reach) if low >= reach else 0,
                _digit_at(upto, high + reach) if high + reach < int(upto[-1]) else 2 * HALF - 1,
            )
            for low, high in ranks
        ]
        if self.ends is not None:
            ends = [(max(new[0], old[0]), min(new[1], old[1])) for new, old in zip(ends, self.ends, strict=True)]
        self.ends, self.limits = ends, [self._numbers(low, high) for low, high in ends]
        if self.parts:
            every = torch.cat(self.parts)
            digits = self._digits(every)
            inside = torch.zeros_like(digits, dtype=torch.bool)
            for first, final in ends:
                inside |= (digits >= first) & (digits <= final)
            self.parts = [every[inside]]
            self.kept = len(self.parts[0])

    def _numbers(self, low: int, high: int) -> list[float]:
        """Those that values with these digits lie between. So may a zero of the other sign: nobody asks for it."""
        least, most = keys(torch.tensor([-math.inf, math.inf], dtype=self.dtype)).tolist()
        ends = [max((low - HALF) << self.shift, least), min(((high - HALF + 1) << self.shift) - 1, most)]
        numbers: list[float] = keys(torch.tensor(ends, dtype=INTEGERS[self.dtype.itemsize])).view(self.dtype).tolist()
        return numbers


def _between(x: Tensor, limits: list[list[float]]) -> Tensor:
    """The values within one of the limits. On a CPU by NumPy, which takes half of the time."""
    every: Any = x.numpy() if x.device.type == "cpu" else x
    inside = every != every
    for low, high in limits:
        inside |= (every >= low) & (every <= high)
    return torch.as_tensor(every[inside])


def _digit_at(upto: Tensor, rank: int) -> int:
    """The digit of the value at `rank`, where up to each digit there are `upto` values."""
    return int(torch.searchsorted(upto, rank, right=True))
