"""Quantiles that are exact, of any number of values: the values that lie at wanted ranks are found digit by digit.

The bits of floating-point numbers, read as integers (negative ones reversed), are in the order of the values. Counting
how often each upper half occurs says in which half a rank lies; among those values the lower half is counted the same
way. So values of 32 bits need two looks, values of 16 bits one, and nothing is sorted or kept. Between ranks
values are interpolated, as `torch.quantile` does.

>>> statistic = Quantile(quantile=0.75)
>>> statistic.update(torch.arange(9.0))
>>> statistic.result()
{'min': 2.0, 'max': 6.0, 'range': 4.0, 'count': 9}
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.graph.statistic_base import Statistic, chunks, register_statistic

DIGIT = 16  # bits
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

    def __init__(self, ranks: list[int], dtype: torch.dtype):
        self.ranks, self.dtype = ranks, dtype
        self.width = 8 * dtype.itemsize
        self.prefixes: list[Optional[int]] = [None] * len(ranks)
        self.known = 0  # bits
        self.counts: dict[Optional[int], Tensor] = {}

    @property
    def done(self) -> bool:
        return self.known == self.width

    def update(self, x: Tensor) -> None:
        """Count the next digit of values whose known bits are those of a wanted one."""
        for chunk in chunks(x):
            all_keys = keys(chunk.to(self.dtype))
            for prefix in dict.fromkeys(self.prefixes):
                found = all_keys if prefix is None else all_keys[all_keys >> (self.width - self.known) == prefix]
                digit = found >> (self.width - self.known - DIGIT)
                digit = digit.int() + 2 ** (DIGIT - 1) if prefix is None else (digit & (2**DIGIT - 1)).int()
                counted = torch.bincount(digit, minlength=2**DIGIT)
                self.counts[prefix] = self.counts[prefix] + counted if prefix in self.counts else counted

    def advance(self) -> None:
        """All values have been seen: settle one more digit."""
        for index, prefix in enumerate(self.prefixes):
            upto = self.counts[prefix].cumsum(0)
            digit = int(torch.searchsorted(upto, self.ranks[index], right=True))
            self.ranks[index] -= int(upto[digit - 1]) if digit else 0
            if prefix is None:
                self.prefixes[index] = digit - 2 ** (DIGIT - 1)
            else:
                self.prefixes[index] = (prefix << DIGIT) + digit
        self.known += DIGIT
        self.counts = {}

    def values(self) -> list[float]:
        integers = torch.tensor(self.prefixes, dtype=INTEGERS[self.width // 8])
        return keys(integers).view(self.dtype).tolist()


@register_statistic("range_quantile")
class Quantile(Statistic):
    def __init__(self, quantile: float = 0.975, abs: bool = False) -> None:
        if not 0 <= quantile <= 1:
            raise ConfigError(f"statistic range_quantile: quantile must be from 0 to 1, got {quantile}")
        self.quantiles = (1 - quantile, quantile)
        self.abs = abs
        self.tensors = self.count = 0
        self.nan: Any = False
        self.search: Optional[Search] = None  # over all tensors
        self.single: Optional[Search] = None  # over the only one
        self.passes = 0

    def update(self, x: Tensor) -> None:
        if not x.numel():
            return
        x = x.detach().abs() if self.abs else x.detach()
        if self.search is None:
            self.search = Search([], x.dtype)
            self.search.prefixes = [None]
        if self.passes == 0:
            self.tensors += 1
            self.count += x.numel()
            self.nan = x.isnan().any() | self.nan
        self.search.update(x)
        if self.passes == 0 and self.tensors == 1:
            self.single = Search(self._ranks(), x.dtype)
            self.single.prefixes = [None] * len(self.single.ranks)
            self.single.counts = dict(self.search.counts)
            self.single.advance()
            while not self.single.done:
                self.single.update(x)
                self.single.advance()
        else:
            self.single = None

    def _ranks(self) -> list[int]:
        places = [quantile * (self.count - 1) for quantile in self.quantiles]
        return [rank for place in places for rank in (math.floor(place), math.ceil(place))]

    def next_pass(self) -> bool:
        if self.search is None or self.single is not None or self.search.done:
            return False
        if self.passes == 0:
            self.search.ranks = self._ranks()
            self.search.prefixes = [None] * len(self.search.ranks)
        self.passes += 1
        self.search.advance()
        return not self.search.done

    def result(self) -> dict[str, Any]:
        search = self.single or self.search
        low = high = math.nan
        if search is not None and not bool(self.nan):
            values = search.values()
            low, high = (
                _between(values[2 * index], values[2 * index + 1], quantile * (self.count - 1))
                for index, quantile in enumerate(self.quantiles)
            )
        return {"min": low, "max": high, "range": high - low, "count": self.count}


def _between(low: float, high: float, place: float) -> float:
    return low if low == high else low + (high - low) * (place - math.floor(place))
