"""From loose values (YAML, dotted overrides, a checkpoint's dict) to the typed root config, all of it checked.

    cfg = typed_config({"task": {"_name": "masked_lm", "data": "wiki-bin"}, "model": "roberta", "common": {"seed": 3}})
    cfg.model.encoder_layers        # 12

A wrong key or value is a `ConfigError` on one line:

>>> typed_config({"model": {"_name": "roberta", "dropuot": 0.3}})
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown key 'dropuot' in model (roberta); did you mean 'dropout'?
>>> typed_config({"common": {"log_interval": "often"}})
Traceback (most recent call last):
...
fairseq.errors.ConfigError: common.log_interval must be an integer, not 'often'
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Optional, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq.dataclass import schema
from fairseq.dataclass.configs import FairseqConfig
from fairseq.errors import ConfigError

# keys of the root that are no settings: Hydra's own, and what fairseq-hydra-train hands to spawned processes
_EXTRA = ("_name", "hydra", "job_logging_cfg")


def typed_config(values: Any, *, unknown_keys: str = "error", defaults: bool = True) -> DictConfig:
    """The root config, typed by the dataclasses of its groups and components.

    Args:
        values: mapping or DictConfig; a component is a mapping with `_name`, a bare name, or a namespace of a plugin.
        unknown_keys: `"error"`, or `"drop"` to leave them out (configs of checkpoints that other versions wrote).
        defaults: take `schema.DEFAULT_COMPONENTS` where nothing is chosen.

    Raises:
        ConfigError: unknown key or component, value of a wrong type.
    """
    given = as_mapping(values)
    root = OmegaConf.structured(FairseqConfig, flags={"allow_objects": True})
    names = [*schema.GROUPS, *schema.SLOTS]
    for key, value in given.items():
        if key in schema.GROUPS:
            root[key] = typed_node(schema.GROUPS[key], value, where=key, unknown_keys=unknown_keys)
        elif key in schema.SLOTS:
            root[key] = typed_component(key, value, unknown_keys=unknown_keys)
        elif key not in _EXTRA and unknown_keys == "error":
            raise schema.unknown_key(str(key), names, where="the config")
    if defaults:
        for slot, name in schema.DEFAULT_COMPONENTS.items():
            if root[slot] is None:
                root[slot] = typed_component(slot, name)
    OmegaConf.set_struct(root, True)
    return root


def typed_component(slot: str, value: Any, *, unknown_keys: str = "error") -> Any:
    """The node of one slot; None if nothing is chosen, a namespace as it is."""
    if value is None or schema.is_missing(value) or isinstance(value, Namespace):
        return value
    given = {"_name": value} if isinstance(value, str) else as_mapping(value, where=slot)
    name = given.get("_name")
    if name is None or schema.is_missing(name):
        if len(given) == 1 and isinstance(inner := next(iter(given.values())), (Mapping, DictConfig)):
            # fairseq nests the keys of `model=NAME/FILE` one level deeper, under NAME
            return typed_component(slot, {"_name": next(iter(given)), **as_mapping(inner)}, unknown_keys=unknown_keys)
        if set(given) <= {"_name"} or (isinstance(value, Mapping) and "_name" in given and name is None):
            return None  # `optimizer=null` over a file's keys: nothing is chosen
        raise ConfigError(
            f"{slot} has keys ({', '.join(str(key) for key in given if key != '_name')}) but no _name; choose with "
            f"{slot}._name=NAME: {', '.join(schema.components(slot))}"
        )
    dataclass = schema.dataclass_of(slot, str(name))
    if dataclass is None:
        return OmegaConf.create(dict(given), flags={"allow_objects": True})
    return typed_node(dataclass, given, where=slot, name=str(name), unknown_keys=unknown_keys)


def typed_node(
    dataclass: type, values: Any, *, where: str, name: Optional[str] = None, unknown_keys: str = "error"
) -> DictConfig:
    """One group's or component's values over the defaults of its dataclass."""
    node = OmegaConf.structured(dataclass, flags={"allow_objects": True})
    if name is not None:
        node["_name"] = name
    if values is None:
        return node
    declared, annotations = schema.keys_of(dataclass), schema.types_of(dataclass)
    for key, value in as_mapping(values, where=where).items():
        if key == "_name":
            continue
        if key not in declared:
            if unknown_keys == "drop":
                continue
            place = f"{where} ({name})" if name is not None else where
            raise schema.unknown_key(str(key), list(declared), where=place)
        if schema.is_missing(value) and not schema.is_missing(schema.default_of(declared[key])):
            continue  # as in fairseq: `???` over a key that has a default leaves the default
        annotation = schema.without_none(annotations[key])
        if is_dataclass(annotation) and isinstance(value, Mapping):
            value = typed_node(annotation, value, where=f"{where}.{key}", unknown_keys=unknown_keys)  # type: ignore[arg-type]
        try:
            node[key] = _fit(value, annotation)
        except (OmegaConfBaseException, ValueError):
            raise ConfigError(f"{where}.{key} must be {schema.expected(annotation)}, not {value!r}") from None
    return node


def _fit(value: Any, annotation: Any) -> Any:
    """Loosen what is unmistakable: one number for a list of numbers, 1e5 for an integer."""
    if isinstance(value, str) and ("${" in value or schema.is_missing(value)):
        return value
    if get_origin(annotation) is list and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return [value]
    if annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if get_origin(annotation) is tuple and isinstance(value, (list, tuple)) and len(value) != len(get_args(annotation)):
        raise ValueError("wrong length")
    return value


def as_mapping(values: Any, where: str = "the config") -> Mapping:
    """A dict from a mapping, config node or dataclass; interpolations are not resolved."""
    if isinstance(values, DictConfig):
        return OmegaConf.to_container(values, resolve=False, enum_to_str=True)  # type: ignore[return-value]
    if is_dataclass(values):
        return as_mapping(OmegaConf.structured(values))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of keys to values, not {values!r}")
    return values
