"""Registries: a dict and a decorator, with built-ins that are imported when their name is first requested.

A `Registry` maps a name to a class. `builtins` says which module defines a built-in; looking the name up imports that
module, whose `@register_...` decorator fills the entry. A command therefore imports only the components it uses.

>>> shapes = Registry("shape", builtins={"fraction": "fractions"})
>>> "fraction" in shapes, list(shapes)
(True, ['fraction'])
"""

import importlib
from argparse import Namespace
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Optional

from fairseq.dataclass import catalog
from fairseq.dataclass.typed import typed_node
from fairseq.errors import ConfigError, unknown


class Registry(MutableMapping):
    """Name -> object, with lazily imported built-ins; `in`, iteration and `len` see those without importing them."""

    def __init__(self, kind: str, builtins: Optional[dict[str, str]] = None):
        self.kind = kind
        self._builtins = dict(builtins or {})
        self._entries: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries and name in self._builtins:
            importlib.import_module(self._builtins[name])
        if name not in self._entries:
            raise KeyError(name)
        return self._entries[name]

    def lookup(self, name: str) -> Any:
        """Like `registry[name]`, with an error for users that names the nearest entry."""
        try:
            return self[name]
        except KeyError:
            raise ConfigError(unknown(self.kind, str(name), self)) from None

    def __setitem__(self, name: str, value: Any) -> None:
        self._entries[name] = value

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._builtins, *self._entries}))

    def __len__(self) -> int:
        return len({*self._builtins, *self._entries})

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._builtins

    def registered(self, name: str) -> bool:
        """True once the entry itself (not only the promise of a built-in) is there."""
        return name in self._entries


# "criterion" -> {"registry", "default", "dataclass_registry"}, as plugins read it
REGISTRIES: dict[str, dict[str, Any]] = {}


def setup_registry(
    registry_name: str,
    base_class: Optional[type] = None,
    default: Optional[str] = None,
    required: bool = False,
) -> tuple[Callable, Callable, Registry, Any]:
    """Create the registry behind one command-line flag. Its built-ins are those of `fairseq.dataclass.catalog`.

    Args:
        registry_name: the flag, `"--lr-scheduler"`; the config group is the same without dashes (`lr_scheduler`).
        base_class: what every entry must derive from.
        default: the name taken where the user gives none.
        required: building with no name is an error instead of None.

    Returns:
        `(build, register, registry, dataclass_registry)`. `build(cfg, *extra)` accepts a config node or a dict with
        `_name`, an argparse namespace or a bare name, and calls the class's `build_<group>` classmethod if it has one.
    """
    group = registry_name.lstrip("-").replace("-", "_")
    registry = Registry(group.replace("_", " "), catalog.modules(group))
    dataclasses = catalog.group(group)
    REGISTRIES[group] = {"registry": registry, "default": default, "dataclass_registry": dataclasses}

    def build(cfg: Any, *extra_args: Any, **extra_kwargs: Any) -> Any:
        name, cfg = _choice(group, cfg)
        if name is None:
            if required:
                raise ConfigError(f"{registry_name} is required; choose from {', '.join(registry)}")
            return None
        cls = registry.lookup(name)
        builder = getattr(cls, f"build_{group}", None) or cls
        return builder(cfg, *extra_args, **extra_kwargs)

    def register(name: str, dataclass: Optional[type] = None) -> Callable[[type], type]:
        def decorate(cls: type) -> type:
            if registry.registered(name):
                raise ValueError(f"{group} {name!r} is registered already")
            if base_class is not None and not issubclass(cls, base_class):
                raise ValueError(f"{group} {name!r} ({cls.__name__}) must extend {base_class.__name__}")
            registry[name] = cls
            cls.__dataclass = dataclass  # type: ignore[attr-defined]
            if dataclass is not None:
                catalog.register(group, name, dataclass)
            return cls

        return decorate

    return build, register, registry, dataclasses


def _choice(group: str, cfg: Any) -> tuple[Optional[str], Any]:
    """The component's name and the config to build it from, whatever form the user's choice has."""
    dataclass: Optional[type]
    if cfg is None or isinstance(cfg, str):
        if cfg is None:
            return None, None
        dataclass = catalog.group(group).get(cfg)
        return cfg, dataclass() if dataclass is not None else Namespace(**{"_name": cfg})
    if isinstance(cfg, Namespace):
        name = getattr(cfg, group, None) or getattr(cfg, "_name", None)
        if not isinstance(name, str) or (dataclass := catalog.group(group).get(name)) is None:
            return name, cfg
        return name, typed_node(dataclass, vars(cfg), where=group, name=name, unknown_keys="drop")
    if isinstance(cfg, dict):
        name = cfg.get("_name")
        dataclass = catalog.group(group).get(name) if name is not None else None
        return name, typed_node(dataclass, cfg, where=group, name=name) if dataclass is not None else Namespace(**cfg)
    return (cfg.get("_name") if hasattr(cfg, "get") else cfg._name), cfg
