"""Settings as words of the command line, in Hydra's grammar, and as TOML.

>>> word("model.dropout", 0.1), word("quantization", "int8"), word("task.pattern", "2:4")
('model.dropout=0.1', 'quantization=int8', "task.pattern='2:4'")
>>> word("quantization.rules", [{"match": "a.weight", "bits": 4, "quantize": True}])
"quantization.rules=[{match:'a.weight',bits:4,quantize:true}]"
>>> toml_value({"by": "name", "a.b": [1, "x"]})
'{by = "name", "a.b" = [1, "x"]}'
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
KEYWORDS = ("true", "false", "null", "nan", "inf", "none", "yes", "no", "on", "off")


def word(key: str, value: Any) -> str:
    """`KEY=VALUE`."""
    if isinstance(value, str) and PLAIN.fullmatch(value) and (value.lower() == "none" or value.lower() not in KEYWORDS):
        return f"{key}={value}"
    return f"{key}={_hydra(value)}"


def _hydra(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_hydra, value)) + "]"
    text = str(value).replace("'", "\\'")
    return f"'{text}'"


def toml_table(name: str, values: Mapping[str, Any]) -> str:
    """A table of TOML, with its heading."""
    lines = [f"[{name}]", *(f"{_toml_key(key)} = {toml_value(value)}" for key, value in values.items())]
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A value on one line; None, which TOML does not have, is "NA"."""
    if value is None:
        return '"NA"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)
