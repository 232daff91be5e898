"""Settings that name pairs of languages.

>>> split_pairs("de-en,fr-en"), all_languages(["de-en", "fr-en"])
(['de-en', 'fr-en'], ['de', 'en', 'fr'])
"""

from typing import Any

from fairseq.errors import ConfigError


def split_pairs(value: Any) -> list[str]:
    """`"de-en,fr-en"`, or a list, as a list.

    Raises:
        ConfigError: one of them is no pair.
    """
    pairs = [pair.strip() for pair in value.split(",") if pair.strip()] if isinstance(value, str) else list(value or ())
    for pair in pairs:
        if str(pair).count("-") != 1 or not all(str(pair).split("-")):
            raise ConfigError(f"--lang-pairs: {pair!r} is no pair of languages such as de-en")
    return pairs


def all_languages(pairs: list[str]) -> list[str]:
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
