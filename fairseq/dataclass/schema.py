"""What a configuration may hold: groups, slots and their components, the keys of each, the types of values.

Two words used below: a *group* (`dataset`) always has the same keys; a *slot* (`model`) has the keys of the component
that its `_name` chooses.

>>> sorted(GROUPS)[:3], SLOTS[:3]
(['bmuf', 'checkpoint', 'common'], ('model', 'task', 'criterion'))
>>> expected(Optional[List[float]])
'a list of numbers'
"""

import enum
import importlib
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from typing import Any, List, Optional, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from fairseq.dataclass import catalog
from fairseq.dataclass.base import MISSING
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.ranges import Range
from fairseq.errors import ConfigError, unknown

_ROOT = {declared.name: declared for declared in fields(FairseqConfig) if declared.name != "_name"}

# group -> dataclass, in the order of the root config
GROUPS: dict[str, type] = {name: declared.type for name, declared in _ROOT.items() if is_dataclass(declared.type)}  # type: ignore[misc]

# slots that hold one component each
SLOTS: tuple[str, ...] = tuple(name for name in _ROOT if name not in GROUPS)

# groups whose keys come from a file that is chosen by name
CHOSEN_GROUPS = ("quantization",)

# what a run takes where nothing is chosen, as fairseq's command line does
DEFAULT_COMPONENTS = {"criterion": "cross_entropy", "lr_scheduler": "fixed"}

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
_PLURALS = {bool: "true or false values", int: "integers", float: "numbers", str: "texts"}


def keys_of(dataclass: type) -> dict[str, Field]:
    """The fields of a config dataclass by key, without `_name`."""
    return {declared.name: declared for declared in fields(dataclass) if declared.name != "_name"}


def help_of(declared: Field) -> str:
    """A field's help text, with the names that it may take where they are those of a registry."""
    return help_text(declared.metadata)


def help_text(metadata: Mapping[str, Any]) -> str:
    """The help text in a field's metadata, see `help_of`."""
    text = metadata.get("help") or ""
    if "names" not in metadata:
        return text
    module, _, attribute = metadata["names"].partition(":")
    return f"{text}: {', '.join(getattr(importlib.import_module(module), attribute))}"


def default_of(declared: Field) -> Any:
    if declared.default_factory is not NO_DEFAULT:
        return declared.default_factory()
    return None if declared.default is NO_DEFAULT else declared.default


def range_of(declared: Field) -> Optional[Range]:
    """The numbers that a field accepts: its own range, else that of the field of a group that it follows."""
    own = declared.metadata.get("within")
    if own is not None:
        return own
    group, key = followed(default_of(declared)) or (None, "")
    return range_of(keys_of(GROUPS[group])[key]) if group in GROUPS and key in keys_of(GROUPS[group]) else None


def followed(value: Any) -> Optional[tuple[str, str]]:
    """Group and key of the field that a value such as `II("common.seed")` follows."""
    match = re.fullmatch(r"\$\{(\w+)\.(\w+)\}", value) if isinstance(value, str) else None
    return (match[1], match[2]) if match is not None else None


def dataclass_of_node(node: Any) -> Optional[type]:
    """The dataclass behind a config node; None if it has none, or nothing is chosen."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return None
    dataclass = OmegaConf.get_type(node)
    return dataclass if is_dataclass(dataclass) else None  # type: ignore[return-value]


def check_ranges(cfg: DictConfig) -> None:
    """Raise ConfigError at the first number of a typed root config that its field does not accept.

    Interpolations are left alone: what they lead to is checked where it stands, or after they are resolved.
    """
    for name in (*GROUPS, *SLOTS):
        for where, value, within in _ranged(cfg._get_node(name), name):
            expected = within.problem(value)
            if expected is not None:
                raise ConfigError(f"{where} must be {expected}, not {value}")


def _ranged(node: Any, where: str) -> Iterator[tuple[str, Any, Range]]:
    """Dotted key, value and range of each field of a config node that has a range."""
    dataclass = dataclass_of_node(node)
    for key, declared in keys_of(dataclass).items() if dataclass is not None else ():
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            yield from _ranged(child, f"{where}.{key}")
        elif child is not None and not child._is_interpolation() and (within := range_of(declared)) is not None:
            is_list = isinstance(child, ListConfig) and not child._is_none()
            yield f"{where}.{key}", child if is_list else child._value(), within


def types_of(dataclass: type) -> dict[str, Any]:
    """Key -> annotation."""
    return get_type_hints(dataclass)


def without_none(annotation: Any) -> Any:
    """`Optional[int]` -> `int`; anything else as it is."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return rest[0] if len(rest) == 1 else Any
    return annotation


def expected(annotation: Any) -> str:
    """A type in words."""
    annotation = without_none(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(str(choice.value) for choice in annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple):
        count = f"{len(parts)} " if origin is tuple and Ellipsis not in parts else ""
        return f"a list of {count}{_PLURALS.get(parts[0], 'values') if parts else 'values'}"
    if origin is dict or annotation is dict:
        return "a mapping"
    return _NAMES.get(annotation, "a value")


def components(slot: str) -> list[str]:
    """Names that a slot accepts, those of loaded plugins included."""
    return sorted({*catalog.group(slot), *_registered(slot)})


def dataclass_of(slot: str, name: str) -> Optional[type]:
    """The config dataclass of a component; None for one that declares none (its keys are then free-form).

    Raises:
        ConfigError: no such component.
    """
    if name in catalog.group(slot):
        return catalog.group(slot)[name]
    if name not in _registered(slot):
        raise ConfigError(unknown(slot.replace("_", " "), name, components(slot)))
    # a named architecture of a model shares the model's config
    models = sys.modules.get("fairseq.models")
    model = getattr(models, "ARCH_MODEL_NAME_REGISTRY", {}).get(name) if slot == "model" else None
    return catalog.group(slot).get(model) if model is not None else None


def _registered(slot: str) -> set[str]:
    """Names in the registry behind a slot. Only loaded modules are asked: reading a config imports no model code."""
    if slot in ("model", "task"):
        module = sys.modules.get(f"fairseq.{slot}s")
        tables = [f"{slot.upper()}_REGISTRY"] + (["ARCH_MODEL_REGISTRY"] if slot == "model" else [])
        return {name for table in tables for name in getattr(module, table, ())}
    registries = getattr(sys.modules.get("fairseq.registry"), "REGISTRIES", {})
    return set(registries[slot]["registry"]) if slot in registries else set()


def unknown_key(key: str, candidates: List[str], where: str) -> ConfigError:
    """The error for a key that does not exist in `where`; says in which group such a key does exist, if in one, or that
    it is a group itself.
    """
    if where != "the config" and key in (*SLOTS, *GROUPS):
        how = f"{key}=NAME" if key in (*SLOTS, *CHOSEN_GROUPS) else f"{key}.KEY=VALUE"
        return ConfigError(f"unknown key {key!r} in {where}; {key} is another group: write {how}")
    home = home_of(key)
    if home is not None:
        return ConfigError(f"unknown key {key!r} in {where}; did you mean {home!r}?")
    return ConfigError(unknown("key", key, candidates, where=where))


def home_of(key: str) -> Optional[str]:
    """The dotted name of the first group or slot that has `key`."""
    for group, dataclass in GROUPS.items():
        if key in keys_of(dataclass):
            return f"{group}.{key}"
    for slot in SLOTS:
        if any(key in keys_of(dataclass) for dataclass in catalog.group(slot).values()):
            return f"{slot}.{key}"
    return None


def usual_default(slot: str, key: str) -> Any:
    """The default of a key in the first component of the slot that has it; None if none has."""
    for dataclass in catalog.group(slot).values():
        if key in keys_of(dataclass):
            return default_of(keys_of(dataclass)[key])
    return None


def is_missing(value: Any) -> bool:
    return isinstance(value, str) and value == MISSING
