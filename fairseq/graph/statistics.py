"""Statistics of tensors that come in pieces: `update` takes a tensor, `result` says what was found in all of them.

    record             the values themselves
    variance_online    count, mean and variance in one pass (Chan, Golub and LeVeque 1979, equation 2.1)
    variance_precise   the same in two passes, in float64
    range_min_max      smallest and largest value
    range_n_sigma      mean -+ num_sigma standard deviations
    range_quantile     the quantiles 1 - q and q, exact, of any number of values (`exact_quantile.py`)
    abs_mean           mean of absolute values
    histogram          numbers of values in equal bins

Variances are unbiased: divided by count - 1. Some statistics look twice at everything: where `next_pass` is true, the
same tensors have to come again. One that sees a single tensor never needs that.

>>> statistic = build_statistic("range_n_sigma", num_sigma=2)
>>> statistic.update(torch.tensor([1.0, 3.0]))
>>> statistic.update(torch.tensor([5.0]))
>>> {name: round(value, 5) for name, value in statistic.result().items()}
{'min': -1.0, 'max': 7.0, 'range': 8.0, 'count': 3}
"""

import inspect
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError, unknown
from fairseq.graph.exact_quantile import Quantile
from fairseq.graph.statistic_base import STATISTICS, Statistic, chunks, register_statistic, wide

__all__ = ["STATISTICS", "Quantile", "Statistic", "build_statistic", "register_statistic"]

ROW = 2**12  # values that are summed in their own type before float64 takes over


def build_statistic(name: str, **settings: Any) -> Statistic:
    """The statistic called `name`.

    Raises:
        ConfigError: no such statistic, or no such setting.
    """
    if name not in STATISTICS:
        raise ConfigError(unknown("statistic", name, STATISTICS))
    known = list(inspect.signature(STATISTICS[name]).parameters)
    for key in settings:
        if key not in known:
            raise ConfigError(unknown("setting", key, known, where=f"statistic {name}"))
    return STATISTICS[name](**settings)


def number(value: Optional[Tensor]) -> float:
    return float("nan") if value is None else float(value)


@register_statistic("record")
class Record(Statistic):
    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def update(self, x: Tensor) -> None:
        self.parts.append(x.detach().flatten().clone())

    def result(self) -> dict[str, Any]:
        data = torch.cat(self.parts)
        return {"data": data, "count": data.numel(), "size_in_bytes": data.numel() * data.element_size()}


@register_statistic("variance_online")
class VarianceOnline(Statistic):
    """Rows are centred on their own means, and their means and squares joined in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Optional[Tensor] = None  # of all so far
        self.squares: Optional[Tensor] = None  # sum of squared distances from it

    def update(self, x: Tensor) -> None:
        for chunk in chunks(x):
            whole = chunk.numel() // ROW * ROW
            for rows in (chunk[:whole].view(-1, ROW), chunk[whole:].view(1, -1)):
                if rows.numel():
                    self._join(wide(rows))

    def _join(self, rows: Tensor) -> None:
        means = rows.mean(1)
        squares = torch.linalg.vector_norm(rows - means[:, None], dim=1).double().square().sum()
        means = means.double()
        mean, count = means.mean(), rows.numel()
        squares = squares + (means - mean).square().sum() * rows.shape[1]
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total, apart = self.count + count, mean - self.mean
        self.squares = self.squares + squares + apart.square() * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    def variance(self) -> float:
        return number(self.squares) / (self.count - 1) if self.count > 1 else float("nan")

    def result(self) -> dict[str, Any]:
        return {"mean": number(self.mean), "variance": self.variance(), "count": self.count}


@register_statistic("variance_precise")
class VariancePrecise(Statistic):
    def __init__(self) -> None:
        self.tensors = self.count = 0
        self.total: Any = 0.0
        self.mean: Any = None  # known after the first pass
        self.squares: Any = 0.0

    def update(self, x: Tensor) -> None:
        if self.mean is not None:
            self.squares = self.squares + self._squares(x, self.mean)
            return
        self.tensors += 1
        self.count += x.numel()
        for chunk in chunks(x):
            self.total = self.total + chunk.sum(dtype=torch.float64)
        if self.tensors == 1 and self.count:
            self.squares = self._squares(x, self.total / self.count)

    def _squares(self, x: Tensor, mean: Any) -> Any:
        return sum((chunk.double() - mean).square().sum() for chunk in chunks(x))

    def next_pass(self) -> bool:
        if self.mean is not None or self.tensors < 2:
            return False
        self.mean, self.squares = self.total / max(self.count, 1), 0.0
        return True

    def result(self) -> dict[str, Any]:
        mean = float(self.total) / self.count if self.count else float("nan")
        variance = float(self.squares) / (self.count - 1) if self.count > 1 else float("nan")
        return {"mean": mean, "variance": variance, "count": self.count}


@register_statistic("range_min_max")
class RangeMinMax(Statistic):
    def __init__(self, abs: bool = False) -> None:
        self.abs, self.count = abs, 0
        self.low: Optional[Tensor] = None
        self.high: Optional[Tensor] = None

    def update(self, x: Tensor) -> None:
        if not x.numel():
            return
        low, high = torch.aminmax(x.detach().abs() if self.abs else x.detach())
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        self.count += x.numel()

    def result(self) -> dict[str, Any]:
        low, high = number(self.low), number(self.high)
        return {"min": low, "max": high, "range": high - low, "count": self.count}


@register_statistic("range_n_sigma")
class RangeNSigma(Statistic):
    def __init__(self, num_sigma: float = 3, abs: bool = False) -> None:
        self.num_sigma, self.abs = num_sigma, abs
        self.moments = VarianceOnline()

    def update(self, x: Tensor) -> None:
        self.moments.update(x.detach().abs() if self.abs else x)

    def result(self) -> dict[str, Any]:
        mean, reach = number(self.moments.mean), self.num_sigma * self.moments.variance() ** 0.5
        return {"min": mean - reach, "max": mean + reach, "range": 2 * reach, "count": self.moments.count}


@register_statistic("abs_mean")
class AbsMean(Statistic):
    def __init__(self) -> None:
        self.count = 0
        self.total: Any = 0.0

    def update(self, x: Tensor) -> None:
        self.count += x.numel()
        for chunk in chunks(x):
            self.total = self.total + chunk.abs().sum(dtype=torch.float64)

    def result(self) -> dict[str, Any]:
        return {"abs_mean": float(self.total) / self.count if self.count else float("nan"), "count": self.count}


@register_statistic("histogram")
class Histogram(Statistic):
    """`bins` equal ones from `low` to `high`, by default from the smallest to the largest finite value."""

    def __init__(self, bins: int = 64, low: Optional[float] = None, high: Optional[float] = None) -> None:
        if bins < 1 or (low is None) != (high is None) or (low is not None and high is not None and low >= high):
            raise ConfigError("statistic histogram: needs at least one bin, and low below high or neither of them")
        self.bins, self.given, self.tensors, self.total = bins, low is not None, 0, 0
        self.low, self.high = low, high
        self.counted: Any = 0
        self.again = False

    def update(self, x: Tensor) -> None:
        if not self.again:
            self.tensors += 1
            self.total += x.numel()
            if not self.given:
                self._widen(x)
        if self.again or self.given:
            self.counted = self.counted + self._counts(x)
        elif self.tensors == 1:
            self.counted = self._counts(x)

    def _widen(self, x: Tensor) -> None:
        finite = x.detach().flatten()
        if finite.numel():
            low, high = torch.aminmax(finite)
            if not bool((low - low == 0) & (high - high == 0)):
                finite = finite[finite.isfinite()]
        if finite.numel():
            least, most = (float(end) for end in torch.aminmax(finite))
            self.low = least if self.low is None else min(self.low, least)
            self.high = most if self.high is None else max(self.high, most)

    def _counts(self, x: Tensor) -> Any:
        if self.low is None or self.high is None:
            return 0
        low, high = (self.low, self.high) if self.low < self.high else (self.low - 0.5, self.high + 0.5)
        return sum(torch.histc(wide(chunk), self.bins, low, high).long() for chunk in chunks(x))

    def next_pass(self) -> bool:
        if self.given or self.again or self.tensors < 2:
            return False
        self.again, self.counted = True, 0
        return True

    def result(self) -> dict[str, Any]:
        counts = self.counted.tolist() if isinstance(self.counted, Tensor) else [0] * self.bins
        return {"min": self.low, "max": self.high, "bins": counts, "count": self.total}
