"""Names in files: a checkpoint, packed weight or plan keeps the meaning that it was written with, by its `version`.

| version | integer zero point | real zero point | average that starts at 0 |
| --- | --- | --- | --- |
| 1 (files that have none) | affine_int | affine | running |
| 2 | affine, or affine_int | affine_float_zp | ema_from_zero, or running |

Packed weights have a version 3, in which codes lie densely (`kernels/packing.py`); before it codes of 3 bits took 4, of
5 to 7 bits 8, of 9 to 15 bits 16, scales of fewer bits 8, and formats without scale had one.

So `affine` alone depends on the version. What is read from a file is told by the other names, which do not.

>>> upgraded_rule({"match": "*", "format": "affine"}, version=1), upgraded_rule({"match": "*", "format": "affine"}, 2)
({'match': '*', 'format': 'affine_float_zp'}, {'match': '*', 'format': 'affine_int'})
"""

import json
from collections.abc import Mapping
from typing import Any

from fairseq.errors import CheckpointError

VERSION = 2
PACKED_VERSION = 3  # of packed weights
_CLEAR = {1: "affine_float_zp", 2: "affine_int"}  # `affine` by a name that needs no version
_CANONICAL = {"affine_int": "affine"}  # as formats call themselves
_RANGES = {"running": "ema_from_zero"}


def version_of(entry: Mapping[str, Any], where: str) -> int:
    """The version that a file's part says it has; 1 if none.

    Raises:
        CheckpointError: it is a later one.
    """
    version = entry.get("version", 1)
    if type(version) is not int or version not in _CLEAR:
        raise CheckpointError(f"{where} holds a quantization of version {version!r}; this build reads up to {VERSION}")
    return version


def clear_format(name: Any, version: int) -> Any:
    """A format in a file, a name or a mapping with one, by a name that means the same in every version."""
    if isinstance(name, Mapping):
        return {**name, "format": clear_format(name.get("format"), version)}
    return _CLEAR[min(version, VERSION)] if name == "affine" else name


def upgraded_rule(rule: Mapping[str, Any], version: int) -> dict[str, Any]:
    """A rule of a file."""
    format_name = rule.get("format")
    return {**rule, "format": clear_format(format_name, version)} if format_name else dict(rule)


def upgraded_row(row: Mapping[str, Any], version: int) -> dict[str, Any]:
    """A plan's row of a file, with today's names."""
    found = dict(row)
    if "format" in found:
        clear = clear_format(found["format"], version)
        found["format"] = _CANONICAL.get(clear, clear)
    if isinstance(found.get("range"), str):
        name, bracket, options = found["range"].partition("(")
        found["range"] = f"{_RANGES.get(name, name)}{bracket}{options}"
    return found


def read_plan(text: str, where: str = "plan") -> dict[str, Any]:
    """The contents of a `quantization_plan.json`: `config`, which `read_config` takes, and `plan`, its rows.

    Args:
        text: of the file.
        where: its name, for messages.

    Raises:
        CheckpointError: this is no such file, or one of a later version.
    """
    try:
        saved = json.loads(text)
        version = version_of(saved, where)
        config = {**saved["config"], "rules": [upgraded_rule(rule, version) for rule in saved["config"]["rules"]]}
        rows = [upgraded_row(row, version) for row in saved["plan"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{where} is no quantization plan: {error}") from None
    return {"version": VERSION, "config": config, "plan": rows}
