"""The config in a checkpoint, typed: unknown keys are dropped, components that are not here are kept free-form.

What a file brings is never looked up on the reader's machine: of interpolations, only those that name another key of
the same file (`${common.seed}`, as older versions wrote) are replaced, and any other, such as `${oc.env:HOME}`, is
refused.

>>> model = {"_name": "roberta", "dropout": 0.3, "no_such_key": 1}
>>> cfg = typed({"model": model, "task": {"_name": "of_a_plugin", "x": 1}}, "checkpoint_best.pt")
>>> cfg.model.dropout, cfg.model.encoder_layers, cfg.task.x, cfg.common.seed
(0.3, 12, 1, 1)
"""

import ast
import json
import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Optional

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fairseq.dataclass import schema
from fairseq.dataclass.finish import finish
from fairseq.dataclass.typed import as_mapping, typed_config
from fairseq.errors import CheckpointError, ConfigError


def typed(cfg: Any, filename: str) -> DictConfig:
    """`cfg` of a checkpoint (mapping or config node) as a typed root config.

    Raises:
        CheckpointError: a value that does not have its key's type, or that refers to something outside of the file.
    """
    given = as_mapping(cfg)
    known = {key: given[key] for key in (*schema.GROUPS, *schema.SLOTS) if key in given}
    try:
        values = _resolved(known, filename)
    except RecursionError:
        raise CheckpointError(f"checkpoint {filename}: its config cannot be used: it is nested too deeply") from None
    foreign = {slot: values.pop(slot) for slot in schema.SLOTS if slot in values and not _is_here(slot, values[slot])}
    try:
        root = typed_config(values, unknown_keys="drop", defaults=False)
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {filename}: its config cannot be used: {error}") from None
    with open_dict(root):
        for slot, value in foreign.items():
            root[slot] = OmegaConf.create(dict(value), flags={"allow_objects": True})
    return finish(root, check=False)


_ABSENT = object()
_OTHER_KEY = re.compile(r"\$\{(\w+)\.(\w+)\}")


def _resolved(values: Mapping, filename: str) -> Any:
    """`values` with each `${group.key}` replaced by that value, or left out where the file does not have it (its
    default refers to the same key then).
    """

    def resolved(value: Any, where: str) -> Any:
        if isinstance(value, (DictConfig, ListConfig)):
            value = OmegaConf.to_container(value, resolve=False, enum_to_str=True)
        if isinstance(value, Mapping):
            pairs = ((key, resolved(item, f"{where}.{key}" if where else str(key))) for key, item in value.items())
            return {key: item for key, item in pairs if item is not _ABSENT}
        if isinstance(value, (list, tuple)):
            return [item for item in (resolved(item, where) for item in value) if item is not _ABSENT]
        return _looked_up(values, value, where, filename) if isinstance(value, str) and "${" in value else value

    return resolved(values, "")


def _looked_up(values: Mapping, text: str, where: str, filename: str) -> Any:
    other = _OTHER_KEY.fullmatch(text)
    if other is not None:
        group = values.get(other[1])
        found = group.get(other[2], _ABSENT) if isinstance(group, Mapping) else _ABSENT
        simple = found is None or isinstance(found, (bool, int, float, str))
        if found is _ABSENT or (simple and "${" not in str(found)):
            return found
    raise CheckpointError(
        f"checkpoint {filename}: its config holds {text[:80]!r} ({where}), which would be looked up on this machine: "
        "refused (if you trust its author, have it saved again with the value in its place)"
    )


def _is_here(slot: str, value: Any) -> bool:
    """False for a component that no loaded module registers; its keys cannot be checked."""
    name = value.get("_name") if isinstance(value, Mapping) else None
    return name is None or str(name) in schema.components(slot)


def from_args(args: Namespace, filename: str) -> DictConfig:
    """The typed config of a checkpoint of 2020 or before, which holds flags.

    Raises:
        ConfigError: flags that do not fit. CheckpointError: a value refers to something outside of the file.
    """
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    _resolved(vars(args), filename)
    return convert_namespace_to_omegaconf(args, check=False)


def parse_overrides(text: Any, where: str) -> dict[str, Any]:
    """A dict written as Python literal or JSON; `where` names the setting.

    >>> parse_overrides("{'lr': 0.1}", "x"), parse_overrides('{"amsgrad": true}', "x"), parse_overrides(None, "x")
    ({'lr': 0.1}, {'amsgrad': True}, {})
    """
    if not isinstance(text, str):
        return dict(text or {})
    for parse in (ast.literal_eval, json.loads):
        try:
            value: Optional[Any] = parse(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, dict):
            return value
    raise ConfigError(f"{where}={text!r}: expected a dictionary such as {{'lr': 0.1}}")
