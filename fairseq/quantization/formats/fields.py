"""Checks of a format's settings: the value, or one line that says what it may be.

>>> whole(3, "mantissa_bits", "minifloat", 0, 14)
3
>>> choice("iee", "top", "minifloat", ("ieee", "fn"))
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown top 'iee' in format minifloat; did you mean 'ieee'?
"""

from collections.abc import Sequence
from typing import Any

from fairseq.errors import ConfigError, unknown


def whole(value: Any, name: str, place: str, low: int, high: int, words: Sequence[str] = ()) -> int:
    """`value` if it is a whole number from `low` to `high`; `words`: what else the setting may be, for the message."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        other = "".join(f"{word}, " for word in words[:-1]) + f"{words[-1]} or " if words else ""
        raise ConfigError(f"format {place}: {name} is {other}a whole number from {low} to {high}, got {value!r}")
    return value


def number(value: Any, name: str, place: str, low: float, high: float) -> float:
    """`value` if it is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"format {place}: {name} is a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def choice(value: Any, name: str, place: str, choices: Sequence[str]) -> str:
    """`value` if it is one of `choices`."""
    if value not in choices:
        raise ConfigError(unknown(name, str(value), choices, where=f"format {place}"))
    return str(value)


def flag(value: Any, name: str, place: str) -> bool:
    """`value` if it is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"format {place}: {name} is true or false, got {value!r}")
    return value
