"""The values at some ranks, found digit by digit in as many looks at all values as they have digits.

The bits of floating-point numbers, read as integers (negative ones reversed), are in the order of the values. Counting
how often each upper half occurs says in which half a rank lies; among those values the lower half is counted the same
way. So values of 32 bits need two looks, values of 16 bits one, and nothing is sorted or kept.

>>> search, x = Search(torch.float32), torch.tensor([3.0, -1.0, 2.0])
>>> search.update(x)
>>> search.advance([0, 2])
>>> while not search.done:
...     search.update(x)
...     search.advance()
>>> search.values()
[-1.0, 3.0]
"""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from fairseq.graph.statistic_base import chunks

DIGIT = 16  # bits
HALF = 2 ** (DIGIT - 1)  # leading digits are from -HALF to HALF - 1
SHORT = 2**15  # values at a time, where eight bytes are made of each
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def keys(x: Tensor) -> Tensor:
    """Integers in the order of the values of `x` (its own inverse on integers).

    >>> keys(torch.tensor([-2.0, -1.0, 0.0, 1.0])).diff().gt(0).all()
    tensor(True)
    """
    bits = x if not x.is_floating_point() else x.view(INTEGERS[x.element_size()])
    width = 8 * bits.element_size()
    return bits ^ ((bits >> (width - 1)) & (2 ** (width - 1) - 1))


class Search:
    """The values at some ranks. `prefixes` are the upper bits of each that are known so far."""

    def __init__(self, dtype: torch.dtype):
        self.dtype, self.width = dtype, 8 * dtype.itemsize
        self.ranks: list[int] = []
        self.prefixes: list[int] = []
        self.known = 0  # bits
        self.counts: dict[int, Tensor] = {}  # by prefix
        self.patterns: Optional[Tensor] = None  # how often leading 16 bits occurred, those of -2^15 first

    @property
    def done(self) -> bool:
        return self.known == self.width

    @property
    def leading(self) -> Tensor:
        """How often each leading digit occurred, smallest digit first; once something has been seen."""
        assert self.patterns is not None
        digits = torch.arange(-HALF, HALF, dtype=torch.int16, device=self.patterns.device)
        return self.patterns[keys(digits).long() + HALF]

    def update(self, x: Tensor) -> None:
        """Count the next digit of values whose known bits are those of a wanted one."""
        if not self.known:
            self._count_leading(x)
            return
        for chunk in chunks(x):
            every = keys(chunk.to(self.dtype))
            for prefix in dict.fromkeys(self.prefixes):
                found = every[every >> (self.width - self.known) == prefix]
                digit = (found >> (self.width - self.known - DIGIT)) & (2**DIGIT - 1)
                counted = torch.bincount(digit.int(), minlength=2**DIGIT)
                self.counts[prefix] = self.counts[prefix] + counted if prefix in self.counts else counted

    def _count_leading(self, x: Tensor) -> None:
        if self.patterns is None:
            self.patterns = torch.zeros(2 * HALF, dtype=torch.long, device=x.device)
        ones = torch.ones(min(SHORT, x.numel()), dtype=torch.long, device=x.device)
        per_value = self.width // DIGIT
        for chunk in x.detach().reshape(-1).split(SHORT):
            leading = chunk.to(self.dtype).view(torch.int16)[per_value - 1 :: per_value]
            self.patterns.scatter_add_(0, leading.long() + HALF, ones[: len(leading)])

    def advance(self, ranks: Sequence[int] = ()) -> None:
        """All values have been seen: settle one more digit. The first time it has to be known at which ranks."""
        leading = not self.known
        if leading:
            self.ranks, self.prefixes, self.counts = list(ranks), [0] * len(ranks), {0: self.leading}
        for index, prefix in enumerate(self.prefixes):
            upto = self.counts[prefix].cumsum(0)
            digit = int(torch.searchsorted(upto, self.ranks[index], right=True))
            self.ranks[index] -= int(upto[digit - 1]) if digit else 0
            self.prefixes[index] = digit - HALF if leading else (prefix << DIGIT) + digit
        self.known += DIGIT
        self.counts = {}

    def only(self, x: Tensor, ranks: Sequence[int]) -> list[float]:
        """The values at these ranks, if nothing but `x` has been seen, once; the search itself stays as it is."""
        search = Search(self.dtype)
        search.patterns = self.patterns
        search.advance(ranks)
        while not search.done:
            search.update(x)
            search.advance()
        return search.values()

    def values(self) -> list[float]:
        integers = torch.tensor(self.prefixes, dtype=INTEGERS[self.width // 8])
        found: list[float] = keys(integers).view(self.dtype).tolist()
        return found
