"""Which numbers a config field accepts: declared with the field, as its choices are, and checked in one place.

    num_workers: int = option(1, "processes that prepare batches", within=at_least(0))
    patience: int = option(-1, "...", within=at_least(1, also=-1))
    dropout: float = option(0.1, "...", within=between(0, 1))

A list is checked number by number and may not be empty; `null` is always accepted; NaN and infinities never are.

>>> print(at_least(1, also=-1), "|", above(0), "|", below_one())
at least 1, or -1 | above 0 | at least 0 and below 1
>>> at_least(1, also=-1).problem(0), at_least(0).problem([0.1, 0.2]), between(0, 1).problem(1.5)
('at least 1, or -1', None, 'between 0 and 1')
"""

import ast
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import ListConfig


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, those two included unless `open_low`, `open_high`, and the value `also`."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    also: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        if value in self.also:
            return True
        low = value > self.low if self.open_low else value >= self.low
        high = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and low and high

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return "finite"
        if self.low > -math.inf and self.high < math.inf and not (self.open_low or self.open_high):
            text = f"between {_text(self.low)} and {_text(self.high)}"
        else:
            low = f"{'above' if self.open_low else 'at least'} {_text(self.low)}" if self.low > -math.inf else ""
            high = f"{'below' if self.open_high else 'at most'} {_text(self.high)}" if self.high < math.inf else ""
            text = " and ".join(filter(None, (low, high)))
        return text + "".join(f", or {_text(value)}" for value in self.also)

    def problem(self, value: Any) -> Optional[str]:
        """What `value`, a number or a list of them, should be instead; None if it is in the range."""
        if isinstance(value, str):
            value = _numbers_in(value)
        if isinstance(value, (list, tuple, ListConfig)):
            if len(value) == 0:
                return "a list of at least one number"
            return str(self) if any(_is_number(item) and item not in self for item in value) else None
        return str(self) if _is_number(value) and value not in self else None


def at_least(low: float, *, also: Any = ()) -> Range:
    """`low` or more; `also`: a number, or several, with a meaning of their own."""
    return Range(low=low, also=tuple(also) if isinstance(also, Iterable) else (also,))


def above(low: float, *, also: Any = ()) -> Range:
    """More than `low`."""
    return Range(low=low, open_low=True, also=tuple(also) if isinstance(also, Iterable) else (also,))


def between(low: float, high: float, *, also: Any = ()) -> Range:
    """From `low` to `high`, both included."""
    return Range(low=low, high=high, also=tuple(also) if isinstance(also, Iterable) else (also,))


def below_one() -> Range:
    """A share that may not be the whole: 0 or more, less than 1 (momentum, decay of a moving average)."""
    return Range(low=0, high=1, open_high=True)


def any_number() -> Range:
    """Every finite number."""
    return Range()


# what NumPy takes as a seed, with room for the epoch that is added to it
SEEDS = between(0, 4_000_000_000)


def _text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def _numbers_in(text: str) -> Any:
    """`"(0.9, 0.98)"` as numbers: the text itself where it is something else, which its component will say."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
