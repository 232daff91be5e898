"""The config in a checkpoint, typed: unknown keys are dropped, components that are not here are kept free-form.

>>> model = {"_name": "roberta", "dropout": 0.3, "no_such_key": 1}
>>> cfg = typed({"model": model, "task": {"_name": "of_a_plugin", "x": 1}}, "checkpoint_best.pt")
>>> cfg.model.dropout, cfg.model.encoder_layers, cfg.task.x, cfg.common.seed
(0.3, 12, 1, 1)
"""

import ast
import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf, open_dict

from fairseq.dataclass import schema
from fairseq.dataclass.finish import finish
from fairseq.dataclass.typed import as_mapping, typed_config
from fairseq.errors import CheckpointError, ConfigError


def typed(cfg: Any, filename: str) -> DictConfig:
    """`cfg` of a checkpoint (mapping or config node) as a typed root config.

    Raises:
        CheckpointError: a value that does not have its key's type.
    """
    values = dict(as_mapping(cfg))
    foreign = {slot: values.pop(slot) for slot in schema.SLOTS if slot in values and not _is_here(slot, values[slot])}
    try:
        root = typed_config(values, unknown_keys="drop", defaults=False)
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {filename}: its config cannot be used: {error}") from None
    with open_dict(root):
        for slot, value in foreign.items():
            root[slot] = OmegaConf.create(dict(value), flags={"allow_objects": True})
    return finish(root, check=False)


def _is_here(slot: str, value: Any) -> bool:
    """False for a component that no loaded module registers; its keys cannot be checked."""
    name = value.get("_name") if isinstance(value, Mapping) else None
    return name is None or str(name) in schema.components(slot)


def from_args(args: Namespace) -> DictConfig:
    """The typed config of a checkpoint of 2020 or before, which holds flags."""
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

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
