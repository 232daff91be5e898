"""Settings against the kinds that their dataclass declares: what a YAML, JSON or checkpoint brings may be anything.

>>> from fairseq.quantization.plan.rules import Rule
>>> check_kinds(Rule, {"match": "*", "quantize": "yes"}, "quantization rule '*'")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: quantization rule '*'.quantize: must be true or false or null, got 'yes'
"""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from fairseq.errors import ConfigError, shortened

MAX_NUMBER = 2**63
WORDS = {int: "a whole number", str: "text", bool: "true or false", type(None): "null"}


def check_kinds(dataclass: type, values: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError unless each of `values` is of the kind of the field of that name."""
    kinds = get_type_hints(dataclass)
    for name, value in values.items():
        allowed = get_args(kinds[name]) if get_origin(kinds[name]) is Union else (kinds[name],)
        if not any(_is_of(value, kind) for kind in allowed):
            told = " or ".join(_word(kind) for kind in allowed)
            raise ConfigError(f"{where}.{name}: must be {told}, got {shortened(value)}")


def _is_of(value: Any, kind: Any) -> bool:
    kind = get_origin(kind) or kind
    if kind is int:  # 4.0 is what some formats make of 4; bits must be whole
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
    if kind is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return is_dataclass(kind) or isinstance(value, kind)


def _word(kind: Any) -> str:
    kind = get_origin(kind) or kind
    return "a mapping" if kind is Mapping else "a list" if kind is Sequence else WORDS.get(kind, kind.__name__)
