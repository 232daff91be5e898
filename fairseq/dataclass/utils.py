"""Between flags, namespaces, dataclasses and configs: the helpers that fairseq users import.

    args = options.parse_args_and_arch(options.get_training_parser(), ["RTE-bin", "--arch", "roberta_base", ...])
    cfg = convert_namespace_to_omegaconf(args)        # the same typed config that fairseq-hydra-train trains with

>>> args = Namespace(arch="roberta_large", dropout=0.3, seed=7, task="masked_lm", data="x")
>>> cfg = convert_namespace_to_omegaconf(args)
>>> cfg.model.encoder_layers, cfg.model.dropout, cfg.common.seed, cfg.task.seed
(24, 0.3, 7, 7)
"""

import ast
import contextlib
import copy
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Optional, Union

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fairseq.dataclass import schema
from fairseq.dataclass.base import FairseqDataclass
from fairseq.dataclass.flags import gen_parser_from_dataclass, given_by
from fairseq.dataclass.initialize import finish
from fairseq.dataclass.typed import as_mapping, typed_component, typed_config, typed_node
from fairseq.errors import ConfigError

__all__ = [
    "MISSING",
    "as_config",
    "convert_namespace_to_omegaconf",
    "eval_str_list",
    "gen_parser_from_dataclass",
    "interpret_dc_type",
    "merge_with_parent",
    "omegaconf_no_object_check",
    "overwrite_args_by_name",
    "populate_dataclass",
    "to_container",
    "to_plain",
]


def convert_namespace_to_omegaconf(args: Namespace, *, check: bool = True) -> DictConfig:
    """The typed root config of parsed flags. Components without a dataclass are kept as namespaces, with `_name` added.

    Args:
        check: see `finish`.
    """
    values: dict[str, Any] = {group: given_by(args, dataclass) for group, dataclass in schema.GROUPS.items()}
    for slot in schema.SLOTS:
        name = getattr(args, "arch" if slot == "model" else slot, None)
        if isinstance(name, (Namespace, DictConfig, FairseqDataclass)):
            values[slot] = name  # a namespace whose slot was filled already
        elif name is not None:
            values[slot] = _component(slot, str(name), args)
    return finish(typed_config(values), check=check)


def as_config(cfg: Any) -> Any:
    """What the commands' `main` take: a config as it is, a namespace of flags as the config that it stands for."""
    return convert_namespace_to_omegaconf(cfg) if isinstance(cfg, Namespace) else cfg


def interpret_dc_type(field_type: Any) -> Any:
    """The type that a field's flag is read as: without Optional, text for Any."""
    annotation = schema.without_none(field_type)
    return str if annotation is Any else annotation


def eval_str_list(x: Any, x_type: Any = float) -> Optional[list]:
    """A list from a literal like `"[0.1, 0.2]"`, each element converted; None for None.

    >>> eval_str_list("1,2", int), eval_str_list(0.5)
    ([1, 2], [0.5])
    """
    if x is None:
        return None
    value = ast.literal_eval(x) if isinstance(x, str) else x
    return [x_type(element) for element in value] if isinstance(value, (list, tuple)) else [x_type(value)]


class omegaconf_no_object_check(contextlib.nullcontext):
    """A block in which fairseq lets OmegaConf hold any object; configs here always do."""


def _component(slot: str, name: str, args: Namespace) -> Any:
    if slot == "scoring" and name not in schema.components(slot):
        return None  # the parser's default is there for commands that generate
    dataclass = schema.dataclass_of(slot, name)
    if dataclass is not None:
        return {"_name": name, **given_by(args, dataclass)}
    legacy = copy.deepcopy(args)
    legacy._name = name
    return legacy


def populate_dataclass(dataclass: FairseqDataclass, args: Namespace) -> FairseqDataclass:
    """Set each field of `dataclass`, in place, that `args` has."""
    for declared in fields(dataclass):
        if declared.name != "_name" and hasattr(args, declared.name):
            setattr(dataclass, declared.name, getattr(args, declared.name))
    return dataclass


def merge_with_parent(
    dc: FairseqDataclass, cfg: Union[DictConfig, Mapping[str, Any]], remove_missing: bool = False
) -> DictConfig:
    """`cfg` over the defaults of `dc`, typed.

    Args:
        remove_missing: drop keys that `dc` does not have, instead of raising ConfigError.
    """
    given = as_mapping(cfg)
    name = given.get("_name") or dc._name
    base = as_mapping(OmegaConf.structured(dc))
    own = {key: value for key, value in base.items() if key != "_name"}
    merged = typed_node(
        type(dc),
        {**own, **given},
        where=name or type(dc).__name__,
        name=name,
        unknown_keys="drop" if remove_missing else "error",
    )
    OmegaConf.set_struct(merged, True)
    return merged


def overwrite_args_by_name(cfg: DictConfig, overrides: Mapping[str, Any]) -> None:
    """Set keys by their bare name wherever they occur in `cfg`; `{"criterion": {"k": 1}}` reaches into one slot."""
    with open_dict(cfg):
        for key in list(cfg):
            value = cfg._get_node(key)
            inside = overrides.get(str(key))
            if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing():
                if isinstance(inside, (Mapping, DictConfig)):
                    _merge(value, inside)
                elif isinstance(inside, str) and key in schema.SLOTS and inside != value.get("_name"):
                    cfg[key] = _as_component(str(key), inside, value)
                    value = cfg[key]
                overwrite_args_by_name(value, overrides)
            elif key in overrides:
                _set(cfg, str(key), overrides[str(key)])
            elif isinstance(namespace := value._value() if value is not None else None, Namespace):
                for name in set(vars(namespace)) & set(overrides):
                    setattr(namespace, name, overrides[name])


def _as_component(slot: str, name: str, node: DictConfig) -> Any:
    """Component `name` with the settings of `node`, another one, that it has too."""
    dataclass = schema.dataclass_of(slot, name)
    known = schema.keys_of(dataclass) if dataclass is not None else node
    shared = {key: value for key, value in as_mapping(node).items() if key in known and key != "_name"}
    root = OmegaConf.create({slot: typed_component(slot, {"_name": name, **shared})}, flags={"allow_objects": True})
    for key, value in as_mapping(root[slot]).items():
        if schema.followed(value) is not None:  # another group's field, which this config has somewhere else
            root[slot][key] = node.get(key, schema.usual_default(*schema.followed(value)))  # type: ignore[misc]
    return root[slot]


def _merge(node: DictConfig, values: Any) -> None:
    for key, value in values.items():
        _set(node, str(key), value)


def _set(node: DictConfig, key: str, value: Any) -> None:
    if isinstance(node._get_node(key), ListConfig) and isinstance(value, (int, float, str)):
        value = [value]
    try:
        node[key] = value
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}={value!r}: {str(error).splitlines()[0]}") from None


def to_container(cfg: Any) -> Any:
    """Dicts and lists, choices as strings, interpolations resolved: what checkpoints hold."""
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True) if OmegaConf.is_config(cfg) else cfg


to_plain = to_container  # its name until the next release
