"""Numbers as people read them.

>>> short(0.000123456), short(1234567.0), short(97.3), short(None), count(8000), si(6.619e12), size(1536 * 1024)
('0.0001235', '1.235e+06', '97.3', '-', '8,000', '6.62 T', '1.5 MiB')
>>> duration(42.3), duration(200), duration(4000), percent(0.3131)
('42 s', '3 min 20 s', '1 h 6 min', '31.3 %')
"""

import math
from collections.abc import Sequence
from typing import Any, Optional

NOTHING = "-"


def number(value: Any) -> Optional[float]:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def short(value: Any) -> str:
    """Four digits."""
    found = number(value)
    return NOTHING if found is None else f"{found:.4g}"


def count(value: Any) -> str:
    """An integer with separators."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.0f}"


def si(value: Any) -> str:
    """Three digits with the letter of the power of 1000."""
    found = number(value)
    if found is None:
        return NOTHING
    for power, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(found) >= power:
            return f"{found / power:.3g} {letter}"
    return f"{found:.3g}"


def size(value: Any) -> str:
    """Bytes."""
    found = number(value)
    if found is None:
        return NOTHING
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if found >= 1 << power:
            return f"{found / (1 << power):.1f} {unit}"
    return f"{found:.0f} bytes"


def duration(value: Any) -> str:
    """Seconds."""
    found = number(value)
    if found is None:
        return NOTHING
    seconds = round(found)
    if seconds < 60:
        return f"{found:.2g} s" if found < 10 else f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600:,} h {seconds % 3600 // 60} min"


def percent(share: Any) -> str:
    """A share of one."""
    found = number(share)
    return NOTHING if found is None else f"{100 * found:.1f} %"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`.

    >>> ticks(0.13, 1.07), ticks(0, 5000, 4), ticks(4, 8)
    ([0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 2000.0, 4000.0], [4.0, 5.0, 6.0, 7.0, 8.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    if power == 0.0 or not math.isfinite(power):
        return [low, high]
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= 0.9 * rough), power * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def tick_text(values: Sequence[float]) -> list[str]:
    """Ticks with as many digits as tell them apart.

    >>> tick_text([0.0, 0.0005, 0.001]), tick_text([0.0, 20000.0]), tick_text([0.0, 2e12])
    (['0', '0.0005', '0.001'], ['0', '20k'], ['0', '2T'])
    """
    return [si(value).replace(" ", "") if abs(value) >= 10_000 else f"{value:.4g}" for value in values]


def mean_and_deviation(values: Sequence[float]) -> tuple[Optional[float], Optional[float]]:
    """Mean, and standard deviation of the sample (None of fewer than two).

    >>> mean_and_deviation([1.0, 3.0]), mean_and_deviation([2.0]), mean_and_deviation([])
    ((2.0, 1.4142135623730951), (2.0, None), (None, None))
    """
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
