"""Model registries: names of models, names of their architectures (sizes), and how a config's gaps are filled.

A model is a class; an architecture is a function that fills in what a config leaves open:

    @register_model("my_model", dataclass=MyConfig)
    class MyModel(BaseFairseqModel): ...

    @register_model_architecture("my_model", "my_model_large")
    def my_model_large(args): args.layers = getattr(args, "layers", 24)

Built-in models and their sizes are lines of `fairseq.dataclass.catalog`; a model is imported when its name or that of
a size is first looked up.
"""

import functools
from collections.abc import Callable
from typing import Any, Optional

from fairseq.dataclass import catalog
from fairseq.errors import ConfigError, unknown
from fairseq.models.config import fill_defaults
from fairseq.registry import Registry

_ARCHS = catalog.modules("model")
_MODELS = {
    name: module for name, module in _ARCHS.items() if not any(name in sizes for sizes in catalog.SIZES.values())
}

MODEL_REGISTRY = Registry("model", _MODELS)  # model -> class
MODEL_DATACLASS_REGISTRY = Registry("model", _MODELS)  # model -> config dataclass
ARCH_MODEL_REGISTRY = Registry("architecture", _ARCHS)  # architecture -> class
ARCH_MODEL_NAME_REGISTRY = Registry("architecture", _ARCHS)  # architecture -> model
ARCH_MODEL_INV_REGISTRY = Registry("model", _MODELS)  # model -> its architectures
ARCH_CONFIG_REGISTRY = Registry("architecture", _ARCHS)  # architecture -> function that fills a config's gaps


class RegistrableModel:
    """What may be registered as a model; every BaseFairseqModel is."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> Any:
        """Build a model from its config."""
        raise NotImplementedError(f"{cls.__name__} must define build_model")


def register_model(name: str, dataclass: Optional[type] = None) -> Callable[[type], type]:
    """Class decorator: make a BaseFairseqModel available as `name`; a name that is taken keeps its first class."""

    def decorate(cls: type) -> type:
        if MODEL_REGISTRY.registered(name):
            return MODEL_REGISTRY[name]
        if not issubclass(cls, RegistrableModel):
            raise ValueError(f"model {name!r} ({cls.__name__}) must extend BaseFairseqModel")
        MODEL_REGISTRY[name] = cls
        cls.__dataclass = dataclass  # type: ignore[attr-defined]
        if dataclass is not None:
            MODEL_DATACLASS_REGISTRY[name] = dataclass
            if name not in catalog.group("model"):
                catalog.register("model", name, dataclass)
            register_model_architecture(name, name)(functools.partial(fill_defaults, dataclass=dataclass))
        return cls

    return decorate


def register_model_architecture(model_name: str, arch_name: str) -> Callable[[Callable], Callable]:
    """Function decorator: make a size of model `model_name` available as `arch_name`."""

    def decorate(function: Callable[[Any], None]) -> Callable[[Any], None]:
        if model_name not in MODEL_REGISTRY:
            raise ValueError(f"architecture {arch_name!r}: " + unknown("model", model_name, MODEL_REGISTRY))
        if not callable(function):
            raise ValueError(f"architecture {arch_name!r} must be a function")
        model = MODEL_REGISTRY[model_name]
        if ARCH_MODEL_REGISTRY.registered(arch_name):
            raise ValueError(f"architecture {arch_name!r} is registered already")
        ARCH_MODEL_REGISTRY[arch_name] = model
        ARCH_MODEL_NAME_REGISTRY[arch_name] = model_name
        if not ARCH_MODEL_INV_REGISTRY.registered(model_name):
            ARCH_MODEL_INV_REGISTRY[model_name] = []
        ARCH_MODEL_INV_REGISTRY[model_name].append(arch_name)
        ARCH_CONFIG_REGISTRY[arch_name] = function
        return function

    return decorate


def register_sizes(model_name: str, fill: Callable[[Any, type], None] = fill_defaults) -> None:
    """Make the sizes that the catalog lists for a built-in model available as architectures.

    Args:
        fill: called with a config and the size's dataclass; gives the config what it leaves open.
    """
    for size in catalog.SIZES[model_name]:
        register_model_architecture(model_name, size)(functools.partial(_fill_size, size=size, fill=fill))


def _fill_size(args: Any, size: str, fill: Callable[[Any, type], None]) -> None:
    fill(args, catalog.group("model")[size])


def model_class(name: str) -> type[RegistrableModel]:
    """The class behind the name of a model or an architecture."""
    for registry in (MODEL_REGISTRY, ARCH_MODEL_REGISTRY):
        if name in registry:
            return registry[name]
    raise ConfigError(unknown("model", name, {*MODEL_REGISTRY, *ARCH_MODEL_REGISTRY}))
