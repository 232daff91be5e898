"""Settings that differ from their defaults: what somebody chose for a run.

>>> from fairseq.dataclass.typed import typed_config
>>> cfg = typed_config({"dataset": {"batch_size": 4}, "optimizer": {"_name": "adam", "weight_decay": 0.01}})
>>> [(change.place, change.key, change.value, change.usual) for change in changed(cfg)]
[('dataset', 'batch_size', 4, None), ('optimizer', 'weight_decay', 0.01, 0.0)]
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf

from fairseq.dataclass import schema


@dataclass(frozen=True)
class ChangedSetting:
    """`place` is the group or slot, `key` the dotted key in it, `usual` the default."""

    place: str
    key: str
    value: Any
    usual: Any


def changed(cfg: Any) -> Iterator[ChangedSetting]:
    """The changed settings of a root config, in its order; components that have no dataclass are left out."""
    for place in (*schema.GROUPS, *schema.SLOTS):
        node, dataclass_ = cfg.get(place), declared(cfg, place)
        if dataclass_ is not None and node is not None:
            yield from _changes(cfg, node, dataclass_, place)


def declared(cfg: Any, place: str) -> Optional[type]:
    """The dataclass of a group, or of the component that a slot of `cfg` has."""
    if place in schema.GROUPS:
        return schema.GROUPS[place]
    name = component(cfg, place)
    return schema.dataclass_of(place, name) if name is not None else None


def component(cfg: Any, slot: str) -> Optional[str]:
    """Name of the component in a slot."""
    node = cfg.get(slot)
    return node.get("_name") if isinstance(node, DictConfig) else None


def _changes(cfg: Any, node: Any, dataclass_: type, place: str, prefix: str = "") -> Iterator[ChangedSetting]:
    default = _defaults(dataclass_)
    for key, field in schema.keys_of(dataclass_).items():
        if key not in node or OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if isinstance(field.type, type) and is_dataclass(field.type):
            yield from _changes(cfg, value, field.type, place, f"{prefix}{key}.")
            continue
        usual = _usual(cfg, node, default, key)
        if value != usual:
            yield ChangedSetting(place, f"{prefix}{key}", value, usual)


@functools.cache
def _defaults(dataclass_: type) -> DictConfig:
    """Built once: it takes longer than all else here, and a study asks in each of its runs."""
    return OmegaConf.structured(dataclass_())


def _usual(cfg: Any, node: Any, default: DictConfig, key: str) -> Any:
    """The default of `key`; that of a key that follows another one is the other one's value."""
    if OmegaConf.is_missing(default, key):
        return None
    if not OmegaConf.is_interpolation(default, key):
        return default[key]
    followed = str(default._get_node(key)._value())[2:-1]  # type: ignore[union-attr]  # "${.max_positions}"
    return node[followed[1:]] if followed.startswith(".") else OmegaConf.select(cfg, followed)
