"""Quantiles that are exact, of any number of values.

The values at the ranks on both sides of a quantile are found, and between them it is interpolated, as `torch.quantile`
does. Usually they are found in one look, among values that were kept (`near_ranks.py`), else digit by digit, which
takes a second look at everything (`digit_search.py`); of values of 16 bits the first look always tells.

>>> import torch
>>> statistic = Quantile(quantile=0.75)
>>> statistic.update(torch.arange(9.0))
>>> statistic.result()
{'min': 2.0, 'max': 6.0, 'range': 4.0, 'count': 9}
"""

import math
from typing import Any, Optional

from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.graph.digit_search import Search
from fairseq.graph.near_ranks import NearRanks
from fairseq.graph.statistic_base import Statistic, register_statistic


@register_statistic("range_quantile")
class Quantile(Statistic):
    def __init__(self, quantile: float = 0.975, abs: bool = False) -> None:
        if not 0 <= quantile <= 1:
            raise ConfigError(f"statistic range_quantile: quantile must be from 0 to 1, got {quantile}")
        self.quantiles = (1 - quantile, quantile)
        self.abs = abs
        self.tensors = self.count = self.passes = 0
        self.nan: Any = False
        self.search: Optional[Search] = None  # counts leading digits, then looks for what was not found near
        self.near: Optional[NearRanks] = None
        self.found: Optional[list[float]] = None  # the values at the ranks of all

    def update(self, x: Tensor) -> None:
        if not x.numel():
            return
        x = x.detach().abs() if self.abs else x.detach()
        if self.search is None:
            self.search = Search(x.dtype)
            self.near = NearRanks(x.dtype) if x.element_size() > 2 else None
        self.search.update(x)
        if self.passes:
            return
        self.tensors += 1
        self.count += x.numel()
        self.nan = x.amax().isnan() | self.nan  # faster than to ask each
        self.found = None
        if self.near is not None:
            self.near.update(x, self.search.leading, self._ranks(), self.count)
        if self.tensors == 1 and not (self.near and self.near.holds(self.search.leading, self._ranks())):
            self.found = self.search.only(x, self._all_ranks())

    def _all_ranks(self) -> list[int]:
        return [rank for group in self._ranks() for rank in group]

    def _ranks(self) -> list[tuple[int, int]]:
        places = [quantile * (self.count - 1) for quantile in self.quantiles]
        return [(math.floor(place), math.ceil(place)) for place in places]

    def next_pass(self) -> bool:
        if self.search is None:
            return False
        if self.passes == 0:
            self._settle()
            self.near = None
        if self.found is not None:
            return False
        self.passes += 1
        self.search.advance(self._all_ranks())
        if self.search.done:
            self.found = self.search.values()
        return not self.search.done

    def _settle(self) -> None:
        if self.near is not None and self.found is None and self.search is not None:
            self.found = self.near.settle(self.search.leading, self._ranks())

    def result(self) -> dict[str, Any]:
        self._settle()
        low = high = math.nan
        if self.found is not None and not bool(self.nan):
            low, high = (
                _between(self.found[2 * index], self.found[2 * index + 1], quantile * (self.count - 1))
                for index, quantile in enumerate(self.quantiles)
            )
        return {"min": low, "max": high, "range": high - low, "count": self.count}


def _between(low: float, high: float, place: float) -> float:
    return low if low == high else low + (high - low) * (place - math.floor(place))
