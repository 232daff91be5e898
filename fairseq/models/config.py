"""Configs of models in all the forms they arrive in: config nodes, namespaces of old checkpoints, dataclasses.

`fill_defaults` is the one place where a missing key gets its value; model code reads attributes and never guesses.

>>> from argparse import Namespace
>>> from fairseq.dataclass.models import RobertaConfig
>>> args = Namespace(encoder_layers=3, max_positions=128)
>>> fill_defaults(args, RobertaConfig)
>>> args.encoder_layers, args.encoder_embed_dim, args.max_source_positions
(3, 768, 128)
"""

import contextlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf, open_dict

from fairseq.errors import ConfigError


def fill_defaults(args: Any, dataclass: type) -> None:
    """Give `args` every field of `dataclass` that it lacks, in place.

    A default that follows another field of the same config (`"${.max_positions}"`) follows it; one that follows another
    group is left out.
    """
    defaults = dataclass()
    later = []
    with writable(args):
        for declared in fields(dataclass):
            if has(args, declared.name) or declared.name == "_name":
                continue
            value = getattr(defaults, declared.name)
            if isinstance(value, Enum):
                value = value.value  # str instead of the enum: checkpoints hold no classes of this library
            if isinstance(value, str) and value.startswith("${"):
                later.append((declared.name, value))
            else:
                setattr(args, declared.name, value)
        for name, reference in later:  # in the order of the fields: a reference points at an earlier one
            if reference.startswith("${."):
                setattr(args, name, getattr(args, reference[3:-1]))


def has(args: Any, name: str) -> bool:
    """True if `args` has a key or attribute `name`, None included."""
    return name in args if isinstance(args, DictConfig) else hasattr(args, name)


def drop(args: Any, *names: str) -> None:
    """Take `names` out of a namespace or a free-form node, in place; a typed node keeps its fields."""
    for name in names:
        if is_free_form(args):
            with open_dict(args):
                args.pop(name, None)
        elif not isinstance(args, DictConfig):
            vars(args).pop(name, None)


def is_free_form(args: Any) -> bool:
    """True for a config node of no dataclass."""
    return isinstance(args, DictConfig) and not is_dataclass(OmegaConf.get_type(args))


@contextlib.contextmanager
def writable(args: Any) -> Iterator[None]:
    """Allow new keys in a config node for the length of a `with` block."""
    if isinstance(args, DictConfig):
        with open_dict(args):
            yield
    else:
        yield


def model_name(cfg: Any) -> Optional[str]:
    """The model or architecture that `cfg` is for."""
    for key in ("_name", "arch"):
        if has(cfg, key) and getattr(cfg, key):
            return str(getattr(cfg, key))
    return None


def unwrap(cfg: Any) -> tuple[str, Any]:
    """The model's name and its config; `model=<folder>/<name>` nests the config under the folder's name."""
    name = model_name(cfg)
    if name is not None:
        return name, cfg
    if isinstance(cfg, DictConfig) and len(cfg) == 1:
        folder = next(iter(cfg))
        if isinstance(cfg[folder], DictConfig):
            return model_name(cfg[folder]) or str(folder), cfg[folder]
    raise ConfigError("model: no name given; set model._name (or --arch), for example to roberta")
