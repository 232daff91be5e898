"""The last steps before a typed config is used: fill in what follows from other groups, resolve, miss nothing.

>>> from fairseq.dataclass.typed import typed_config
>>> task = {"_name": "masked_lm", "tokens_per_sample": 128}
>>> cfg = finish(typed_config({"model": "roberta", "task": task, "optimizer": "adam"}))
>>> cfg.model.max_positions
128
>>> check_complete(cfg)  # doctest: +ELLIPSIS
Traceback (most recent call last):
...
fairseq.errors.ConfigError: task.data is missing (folder with ...); give it as task.data=VALUE
"""

from dataclasses import is_dataclass
from typing import Any, Optional

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq.dataclass import schema
from fairseq.dataclass.quantization_file import read_in_place
from fairseq.dataclass.typed import as_mapping
from fairseq.dataclass.unsupported import check_supported
from fairseq.errors import ConfigError


def finish(cfg: DictConfig, *, check: bool = True) -> DictConfig:
    """Fill in what follows from other groups and resolve all interpolations, in place.

    Args:
        check: refuse numbers out of range and settings that are not supported, warn of settings without effect. Not
            for the config in a checkpoint: it describes a past training, and only its weights are used.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    _set_longest_input(cfg)
    if isinstance(cfg.get("quantization"), DictConfig):
        read_in_place(cfg.quantization)
    for slot in schema.SLOTS:
        _set_unfollowed(cfg, slot)
    resolve(cfg)
    if check:
        schema.check_ranges(cfg)
        check_supported(cfg)
    return cfg


def _set_longest_input(cfg: DictConfig) -> None:
    """The model's longest input, where it is left open, is the task's."""
    model, task = cfg.get("model"), cfg.get("task")
    if not isinstance(model, DictConfig) or "max_positions" not in model or model.max_positions is not None:
        return
    limits = [task.get(key) for key in ("max_positions", "tokens_per_sample")] if isinstance(task, DictConfig) else []
    model["max_positions"] = next((limit for limit in limits if isinstance(limit, int)), 512)


def _set_unfollowed(cfg: DictConfig, slot: str) -> None:
    """Keys that follow a key of another slot's component, where the component chosen there has no such key.

    The task's `regression_target` follows the criterion's; under `criterion=cross_entropy`, which has none, it gets the
    default that this key has in the criterions that have it.
    """
    node: Any = cfg._get_node(slot)
    if schema.dataclass_of_node(node) is None:
        return
    for key, value in as_mapping(node).items():
        followed = schema.followed(value)
        if followed is None or followed[0] not in schema.SLOTS:
            continue
        other = cfg._get_node(followed[0])
        if not isinstance(other, DictConfig) or other._is_none() or followed[1] not in other:
            node[key] = schema.usual_default(*followed)


def resolve(cfg: DictConfig) -> DictConfig:
    """Replace every interpolation by its value, in place; a broken one is an error that names its key."""
    try:
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        key = _broken(cfg)
        raise ConfigError(f"{key}: {' '.join(str(error.msg or error).split())}") from None
    return cfg


def _broken(node: Any, path: str = "") -> Optional[str]:
    """The dotted key of the first interpolation that cannot be resolved."""
    keys = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        where = f"{path}.{key}" if path else str(key)
        try:
            if OmegaConf.is_missing(node, key):
                continue
            child = node[key]
        except OmegaConfBaseException:
            return where
        if isinstance(child, (DictConfig, ListConfig)):
            found = _broken(child, where)
            if found is not None:
                return found
    return None


def check_complete(
    cfg: DictConfig,
    slots: tuple[str, ...] = ("task", "model", "criterion", "optimizer"),
    within: Optional[tuple[str, ...]] = None,
    flags: bool = False,
) -> None:
    """Raise ConfigError unless components are chosen for `slots` (those that training needs), no key is missing and
    every number is in its range.

    Args:
        within: only groups and slots whose mandatory keys matter; default: all.
        flags: speak of flags (fairseq-train) instead of keys.
    """
    for slot in slots:
        if OmegaConf.is_missing(cfg, slot) or cfg[slot] is None:
            how = f"--{'arch' if slot == 'model' else slot.replace('_', '-')} NAME" if flags else f"{slot}=NAME"
            raise ConfigError(f"no {slot} is chosen; give {how}: {', '.join(schema.components(slot))}")
    schema.check_ranges(cfg)
    matter = within if within is not None else (*schema.GROUPS, *schema.SLOTS)
    for group in matter:
        node = cfg._get_node(group)
        if not isinstance(node, DictConfig) or node._is_none():
            continue
        for key, value in as_mapping(node).items():
            if schema.is_missing(value):
                how = f"{group}.{key}=VALUE"
                if flags:
                    how = "the first argument" if key == "data" else f"--{key.replace('_', '-')} VALUE"
                raise ConfigError(f"{group}.{key} is missing{_meaning(node, key)}; give it as {how}")


def _meaning(node: DictConfig, key: str) -> str:
    dataclass = OmegaConf.get_type(node)
    declared = schema.keys_of(dataclass).get(key) if is_dataclass(dataclass) else None  # type: ignore[arg-type]
    return f" ({schema.help_of(declared)})" if declared is not None else ""
