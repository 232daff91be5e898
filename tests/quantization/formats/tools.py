"""Formats as lists of values, made from their definitions bit by bit; and inputs at which rounding goes wrong."""

import math
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq.quantization.formats import NumberFormat

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Levels(NamedTuple):
    """Values from 0 upwards, ascending, and whether a tie goes to each."""

    values: np.ndarray
    even: np.ndarray

    @classmethod
    def of(cls, pairs: list[tuple[float, bool]]) -> "Levels":
        values = sorted(set(pairs))
        return cls(np.array([value for value, _ in values]), np.array([even for _, even in values]))


def minifloat(
    exponent_bits: int, mantissa_bits: int, bias: int, top: str = "numbers", subnormals: bool = True
) -> Levels:
    """Every bit pattern without sign, decoded."""
    pairs, ones = [], 2**mantissa_bits - 1
    for field in range(2**exponent_bits):
        for mantissa in range(2**mantissa_bits):
            highest = field == 2**exponent_bits - 1
            if highest and (top == "ieee" or (top == "fn" and mantissa == ones)):
                continue  # infinity or NaN
            if field:
                value = (1 + mantissa / 2**mantissa_bits) * 2.0 ** (field - bias)
            else:
                value = mantissa / 2**mantissa_bits * 2.0 ** (1 - bias) if subnormals else 0.0
                mantissa = mantissa if subnormals else 0
            # without mantissa bits the significand of a number is 1, and that of the next one, in its units, 2
            pairs.append((value, mantissa % 2 == 0 if mantissa_bits else True))
    return Levels.of(pairs)


def denormal(exponent_bits: int, mantissa_bits: int, bias: int) -> Levels:
    """Every exponent with every mantissa; of the codes of one value the one with the smallest exponent decides ties."""
    found: dict[float, bool] = {}
    for field in range(2**exponent_bits):
        for mantissa in range(2**mantissa_bits):
            value = mantissa / 2**mantissa_bits * 2.0 ** (field - bias)
            found.setdefault(value, mantissa % 2 == 0)
            if mantissa >= 2 ** (mantissa_bits - 1):
                found[value] = mantissa % 2 == 0 or mantissa == 2 ** (mantissa_bits - 1)
    return Levels.of(list(found.items()))


def nearest(x: Tensor, levels: Levels, overflow: Optional[float] = None, step: Optional[float] = None) -> Tensor:
    """The level nearest to each value of `x`, fp64; ties to even; where both are, to 0 or else up.

    Args:
        overflow: what values that round to more than the largest become; None: the largest.
        step: from the largest to where the next level would be.
    """
    size = x.double().abs().numpy()
    values, even = levels
    if overflow is not None:
        step = step or values[-1] - values[-2]
        values, even = np.append(values, values[-1] + step), np.append(even, even.all() or not even[-1])
    high = np.searchsorted(values, size).clip(1, len(values) - 1)
    low = high - 1
    middle = values[low] + values[high]  # twice; exact, as is 2 x
    up = (2 * size > middle) | ((2 * size == middle) & even[high] & ~((low == 0) & even[low]))
    found = np.where(up, values[high], values[low])
    found = np.where(np.isinf(size), values[-1], found)
    if overflow is not None:
        found = np.where(found > levels.values[-1], overflow, found)
    found = np.where(np.isnan(size), np.nan, found)
    return torch.from_numpy(found) * torch.where(x < 0, -1.0, 1.0)


def hard_inputs(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Values, middles between them, their neighbours in `dtype`, powers of two, zeros, the largest, infinities, NaN."""
    values = torch.from_numpy(np.asarray(values, dtype=np.float64))
    largest = values.max()
    random = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    powers = torch.tensor([2.0**exponent for exponent in range(-149, 128)], dtype=torch.float64)
    parts = [values, (values[1:] + values[:-1]) / 2, powers, powers * 0.75, random, random * largest, random * 1e-3,
             random * values[1], largest * torch.tensor([1.001, 1.05, 1.1, 1.5, 2.0, 1e3])]  # fmt: skip
    x = torch.cat(parts).to(dtype)
    x = torch.cat([x, _step(x, 1), _step(x, -1), torch.tensor([0.0, math.inf, math.nan, torch.finfo(dtype).max,
                   torch.finfo(dtype).smallest_normal, torch.finfo(dtype).smallest_normal / 4]).to(dtype)])  # fmt: skip
    return torch.cat([x, -x])


def _step(x: Tensor, by: int) -> Tensor:
    """The next or previous number of x's type, of finite numbers."""
    kind = {4: torch.int32, 2: torch.int16}[x.element_size()]
    moved = (x.view(kind) + by).view(x.dtype)
    return torch.where(x.isfinite() & (x != 0), moved, x)


def bits_of(number_format: NumberFormat) -> int:
    """Bits at which the format can be tried: its own, or 4 or as near as it can."""
    return number_format.fixed_bits or min(max(4, number_format.min_bits), number_format.max_bits)


def same(found: Tensor, expected: Tensor) -> bool:
    """Equal, NaN in the same places."""
    return torch.equal(found.isnan(), expected.isnan()) and torch.equal(
        found.double().nan_to_num(0.0, math.inf, -math.inf), expected.double().nan_to_num(0.0, math.inf, -math.inf)
    )
