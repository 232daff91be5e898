"""Values of a study's file, which are dicts, lists and texts, as the types that they are for; errors name the key.

>>> words_of(["a=1"], "common"), seeds_of("1 2", "seeds"), number_of("0.5", "cost")
(('a=1',), (1, 2), 0.5)
"""

import re
from collections.abc import Mapping
from typing import Any, Optional

from fairseq.errors import ConfigError

_NAME = re.compile(r"[\w.+=-][\w.+=, -]*")


def mapping_of(value: Any, where: str) -> dict[str, Any]:
    if value == "":  # `rows:` with nothing behind it
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must hold keys, KEY: VALUE")
    return value


def words_of(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value] if value else []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{where} must be a list of words, [KEY=VALUE, ...]; quote a word that holds a comma or {{")
    return tuple(value)


def text_of(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be one word")
    return value


def optional_of(raw: Mapping[str, Any], key: str, where: str = "") -> Optional[str]:
    if key not in raw or raw[key] in ("", "null", "~"):
        return None
    return text_of(raw[key], f"{where}.{key}".lstrip("."))


def number_of(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where} must be a number, got {value!r}") from None
    if not 0 < number < float("inf"):
        raise ConfigError(f"{where} must be above 0, got {value}")
    return number


def seeds_of(value: Any, where: str) -> tuple[int, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and re.fullmatch(r"\d+", word) for word in words):
        raise ConfigError(f"{where} must be a list of whole numbers, [1, 2, 3]")
    seeds = tuple(int(word) for word in words)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: {'one is there twice' if seeds else 'there are none'}")
    return seeds


def name_of(name: Any, where: str) -> str:
    """Of a row or value: it is part of the name of a folder."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or set(name) <= {"."}:
        raise ConfigError(f"{where}: {name!r} cannot be a name; use letters, digits and . _ - + =")
    return name
