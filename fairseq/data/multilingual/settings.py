"""Settings that name languages, pairs of them, or data sets.

>>> split_pairs("de-en,fr-en"), languages_of(["de-en", "fr-en"])
(['de-en', 'fr-en'], ['de', 'en', 'fr'])
>>> as_mapping('{"mined": (None, "tgt")}', "--langtoks")
{'mined': (None, 'tgt')}
"""

import ast
import os
from collections.abc import Mapping
from typing import Any

from fairseq.errors import ConfigError, reason


def split_list(value: Any) -> list[str]:
    """`"de,en"`, or a list, as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value or ())


def split_pairs(value: Any) -> list[str]:
    """`"de-en,fr-en"`, a list, or a file with such a text, as a list.

    Raises:
        ConfigError: one of them is no pair.
    """
    if isinstance(value, str) and os.path.isfile(value):
        with open(value, encoding="utf-8") as file:
            value = file.read().replace("\n", ",")
    pairs = split_list(value)
    for pair in pairs:
        if str(pair).count("-") != 1 or not all(str(pair).split("-")):
            raise ConfigError(f"--lang-pairs: {pair!r} is no pair of languages such as de-en")
    return pairs


def languages_of(pairs: list[str]) -> list[str]:
    """The languages of `pairs`, sorted."""
    return sorted({language for pair in pairs for language in pair.split("-")})


def boolean(value: Any, name: str) -> bool:
    """A switch that has a value on the command line, as `--left-pad-source False`.

    Raises:
        ConfigError: it is neither true nor false.
    """
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in known:
        raise ConfigError(f"task.{name} must be True or False, not {value!r}")
    return known[str(value).lower()]


def as_mapping(value: Any, name: str) -> dict[str, Any]:
    """A mapping that is given as such, or as the text of a Python literal; read, never evaluated.

    Raises:
        ConfigError: it is something else.
    """
    if not value:
        return {}
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise ConfigError(f"{name}: {value!r} is no mapping such as {{'main': ...}}: {reason(error)}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}: {value!r} is no mapping such as {{'main': ...}}")
    return dict(value)
