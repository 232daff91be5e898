"""Bringing what older versions of fairseq wrote into today's layout (`format.py`)."""

from argparse import Namespace
from typing import Any

from omegaconf import DictConfig, ListConfig

from fairseq.quantization.versions import VERSION, clear_format, upgraded_row, version_of


def upgrade_state(state: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Upgrade a checkpoint in place, and return it.

    Raises:
        CheckpointError: its quantization is of a later version; `path` names the file.
    """
    _upgrade_training(state)
    _upgrade_position(state)
    if isinstance(state.get("args"), Namespace):
        upgrade_args(state["args"])
    if state.get("cfg") is not None:
        _upgrade_config(state["cfg"])
    _upgrade_quantization(state, f"checkpoint {path}".strip())
    return state


def _upgrade_training(state: dict[str, Any]) -> None:
    """Optimizer and schedule: once at the top of the file, then inside the history, now `last_optimizer_state`."""
    if "optimizer_history" not in state:
        if "best_loss" not in state and "optimizer" not in state:
            return  # weights only
        state["optimizer_history"] = [
            {"criterion_name": "CrossEntropyCriterion", "best_loss": state.pop("best_loss", None)}
        ]
        state["last_optimizer_state"] = state.pop("optimizer", None)
    history = state["optimizer_history"]
    if not history:
        return
    if "optimizer" in history[-1]:
        state["last_optimizer_state"] = history[-1]["optimizer"]
        for entry in history:
            entry.pop("optimizer", None)
    last = history[-1]
    last.setdefault("optimizer_name", "FairseqNAG")
    if "lr_scheduler_state" not in last:
        last["lr_scheduler_state"] = {"best": last.pop("best_loss", None)}
    last.setdefault("num_updates", 0)


def _upgrade_position(state: dict[str, Any]) -> None:
    """Where in the data training stood. Epochs count from 1."""
    if "extra_state" not in state:
        moved = [key for key in ("epoch", "batch_offset", "val_loss") if key in state]
        state["extra_state"] = {key: state.pop(key) for key in moved}
    extra = state["extra_state"]
    if "train_iterator" not in extra:
        extra["train_iterator"] = {
            "epoch": extra.get("epoch", 0),
            "iterations_in_epoch": extra.get("batch_offset", 0),
        }
    extra["train_iterator"]["epoch"] = max(extra["train_iterator"].get("epoch", 1), 1)


def upgrade_args(args: Namespace) -> None:
    """Flags that got another name or form."""
    given = vars(args)
    if "max_positions" in given and "max_source_positions" not in given:
        args.max_source_positions = args.max_target_positions = args.max_positions
    given.setdefault("task", "translation")
    for flag, implementation in (("raw_text", "raw"), ("lazy_load", "lazy")):
        if given.get(flag):
            args.dataset_impl = implementation
    if "remove_bpe" in given:
        args.post_process = args.remove_bpe
    if "min_lr" in given:
        args.stop_min_lr = given.pop("min_lr")
    given.pop("log_keys", None)
    if isinstance(given.get("lr"), (int, float)):
        args.lr = [args.lr]
    if isinstance(given.get("data"), list) and args.data:
        args.data = args.data[0]
    if isinstance(given.get("print_alignment"), bool):
        args.print_alignment = "hard" if args.print_alignment else None


def _upgrade_config(cfg: Any) -> None:
    """`print_alignment` was a switch before it named a kind of alignment. `cfg`: plain dict or config node."""
    for node in (cfg.get("generation"), _child(cfg.get("task"), "eval_wer_config")):
        if isinstance(_child(node, "print_alignment"), bool):
            node["print_alignment"] = "hard" if node["print_alignment"] else None


def _upgrade_quantization(state: dict[str, Any], where: str) -> None:
    """Names of formats and ranges in rules and plan keep the meaning that the file was written with."""
    kept = state.get("quantization")
    kept = kept if isinstance(kept, dict) else {}
    version = version_of(kept, where)
    rules = _child(_child(state.get("cfg"), "quantization"), "rules")
    for rule in rules if isinstance(rules, (list, ListConfig)) else ():
        if _child(rule, "format"):
            rule["format"] = clear_format(rule["format"], version)
    if isinstance(kept.get("plan"), list):
        kept["plan"] = [upgraded_row(row, version) if isinstance(row, dict) else row for row in kept["plan"]]
        kept["version"] = VERSION


def _child(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, (dict, DictConfig)) else None
