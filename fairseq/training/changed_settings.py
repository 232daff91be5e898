"""Warnings, by name, about settings that differ from those of the checkpoint that a run continues from.

>>> from fairseq.dataclass.typed import typed_config
>>> saved = typed_config({"dataset": {"batch_size": 4}, "quantization": {"preset": "cpt_4_8"}})
>>> now = typed_config({"dataset": {"batch_size": 2}, "quantization": {"preset": "int8"}})
>>> [str(change) for change in changes(saved, now)]
['quantization.preset=int8 (was cpt_4_8)', 'dataset.batch_size=2 (was 4)']
"""

import ast
import logging
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf

from fairseq.checkpoint import config
from fairseq.dataclass import schema
from fairseq.dataclass.utils import to_container

logger = logging.getLogger("fairseq.trainer")

# what changes the numbers of a run; limits, folders and output may change from part to part
_GROUPS = ("quantization", "ema", "task", "model", "criterion", "optimizer", "lr_scheduler")
_KEYS = {
    "common": ("seed", "fp16", "bf16", "amp"),
    "distributed_training": ("distributed_world_size",),
    "dataset": (
        "train_subset",
        "batch_size",
        "max_tokens",
        "required_batch_size_multiple",
        "grouped_shuffling",
        "update_ordered_indices_seed",
    ),
    "optimization": ("lr", "update_freq", "clip_norm", "sentence_avg", "trainable"),
}

# what decides which examples the batches of an epoch hold, and in which order they come
_BATCHES = {f"dataset.{key}" for key in _KEYS["dataset"]} | {
    "common.seed",
    "task._name",
    "task.max_positions",
    "task.tokens_per_sample",
    "task.sample_break_mode",
    "task.no_shuffle",
    "task.shorten_method",
    "task.init_token",
    "task.separator_token",
    "model.max_positions",
}

# options of an optimizer that are no part of its saved state
_NOT_SAVED = ("_name", "lr", "use_old_adam", "fp16_adam_stats", "tpu")


@dataclass
class Change:
    """A setting that differs from the checkpoint's."""

    name: str
    now: Any
    saved: Any

    @property
    def key(self) -> str:
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.name}={_text(self.now)} (was {_text(self.saved)})"


def changes(saved: DictConfig, now: DictConfig) -> Iterator[Change]:
    """Settings that change the numbers of a run and differ between two root configs."""
    for group in _GROUPS:
        yield from _differing(group, _plain_node(saved, group), _plain_node(now, group), _left_out(now, group))
    for group, keys in _KEYS.items():
        for key in keys:
            yield from _differing(f"{group}.{key}", _plain(saved[group].get(key)), _plain(now[group].get(key)))


def report_changes(
    saved: Optional[DictConfig], cfg: DictConfig, filename: str, position: Mapping[str, Any], reset_optimizer: bool
) -> None:
    """Warn about the settings with which a run continues differently.

    Args:
        saved: the checkpoint's config, None if it has none that can be read.
        cfg: this run's.
        position: where in the data the checkpoint was taken, `extra_state["train_iterator"]`.
        reset_optimizer: the run takes the weights only, and continues with nothing else except perhaps the position.
    """
    if saved is None:
        return
    found = list(changes(saved, cfg))
    if not reset_optimizer:
        _report_settings(found, cfg, filename)
    begins_anew = cfg.checkpoint.reset_dataloader or (
        reset_optimizer and cfg.checkpoint.finetune_from_model is not None
    )
    taken = position.get("iterations_in_epoch", 0)
    moved = [str(change) for change in found if change.name in _BATCHES]
    if moved and taken > 0 and not begins_anew:
        logger.warning(
            f"{filename} was taken after batch {taken} of epoch {position['epoch']}, and batches are made otherwise "
            f"now: {', '.join(moved)}; in the rest of this epoch some examples come twice and others not at all"
        )


def _report_settings(found: list[Change], cfg: DictConfig, filename: str) -> None:
    ignored = [change for change in found if change.name.startswith("optimizer.") and change.key not in _NOT_SAVED]
    if config.parse_overrides(cfg.checkpoint.optimizer_overrides, "checkpoint.optimizer_overrides"):
        ignored = []
    for change in ignored:
        logger.warning(
            f"{change.name}={_text(change.now)} has no effect: the optimizer continues with {_text(change.saved)}, "
            f"which {filename} holds; checkpoint.optimizer_overrides replaces that, checkpoint.reset_optimizer=true "
            "starts with a new optimizer"
        )
    others = [str(change) for change in found if change not in ignored]
    if others:
        logger.warning(f"continuing from {filename} with other settings: {', '.join(others)}")


def same_component(saved: Optional[DictConfig], cfg: DictConfig, slot: str) -> bool:
    """Whether the checkpoint was trained with the component that this run has; True if unknown."""
    names = [(_plain_node(root, slot) or {}).get("_name") if root is not None else None for root in (saved, cfg)]
    return None in names or names[0] == names[1]


def _differing(name: str, saved: Any, now: Any, left_out: Container[str] = ()) -> Iterator[Change]:
    """Changes between two values, key by key if both are mappings."""
    if isinstance(saved, dict) and isinstance(now, dict):
        if saved.get("_name") != now.get("_name"):  # another component: its settings are others anyway
            yield Change(name, now.get("_name"), saved.get("_name"))
            return
        for key in now:
            if key in saved and key not in left_out:
                yield from _differing(f"{name}.{key}", _plain(saved[key]), _plain(now[key]))
    elif saved != now and not isinstance(saved, dict) and not isinstance(now, dict):
        yield Change(name, now, saved)


def _left_out(root: DictConfig, group: str) -> set[str]:
    """Keys of files and folders, which may have moved, and keys that follow one that is compared itself."""
    node: Any = root._get_node(group)
    dataclass_ = schema.dataclass_of_node(node)
    found = set()
    for key, field in schema.keys_of(dataclass_).items() if dataclass_ is not None else ():
        other, other_key = schema.followed(schema.default_of(field)) or ("", "")
        compared = other in _GROUPS or other_key in _KEYS.get(other, ())
        if field.metadata.get("path") or (compared and node[key] == OmegaConf.select(root, f"{other}.{other_key}")):
            found.add(key)
    return found


def _plain_node(root: DictConfig, group: str) -> Any:
    """A group or component as a plain dict; None if nothing is chosen, or where it is a plugin's namespace."""
    node = root._get_node(group)
    return to_container(node) if schema.dataclass_of_node(node) is not None else None


def _plain(value: Any) -> Any:
    """Builtin containers; `"(0.9, 0.98)"` is the list that it spells."""
    value = to_container(value)
    if isinstance(value, str):
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return "null" if value is None else str(value).replace(" ", "")
