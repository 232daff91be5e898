"""Values that were read from JSON, compared with the types of the dataclass that they are for.

>>> from dataclasses import dataclass
>>> from typing import Optional
>>> @dataclass
... class Cell:
...     row: str
...     seconds: Optional[float] = None
>>> checked(Cell, {"row": "fp32", "seconds": 3})
{'row': 'fp32', 'seconds': 3}
>>> checked(Cell, {"row": "fp32", "seconds": "3"})
Traceback (most recent call last):
...
ValueError: seconds holds a str
"""

import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def checked(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """`values`, if each is of the type that the dataclass `kind` declares.

    Raises:
        ValueError: one is not; names it.
    """
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key in hints and not _fits(value, hints[key]):
            raise ValueError(f"{key} holds a {type(value).__name__}")
    return values


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, parts[1]) for item in value.values())
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is float:
        return _is_float(value)
    return isinstance(value, hint)


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)
