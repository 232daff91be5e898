"""What a checkpoint file holds, in today's layout.

state = load_checkpoint_to_cpu("checkpoint_best.pt")
state["model"], state["cfg"]
"""

import logging
import os
from typing import Any, Optional

from fairseq.checkpoint import config, reading
from fairseq.checkpoint.layout import check_layout, restoring
from fairseq.checkpoint.upgrade import upgrade_state
from fairseq.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)


def load_checkpoint_to_cpu(
    path: str, arg_overrides: Optional[dict[str, Any]] = None, load_on_all_ranks: bool = False
) -> dict[str, Any]:
    """The contents of a checkpoint in today's layout, tensors on the CPU.

    Args:
        arg_overrides: settings by bare name, which replace those in the file.
        load_on_all_ranks: every process reads the file; nothing to do for that here.

    Returns:
        the file's dict; `cfg` is a typed config, also for an old file that holds flags (None if the
        flags belong to a plugin that is not loaded).
    """
    return _in_todays_layout(reading.read(path), path, arg_overrides)


def read_outline(path: str) -> dict[str, Any]:
    """As `load_checkpoint_to_cpu`, with tensors on the meta device: their shapes, which take no time to read."""
    return _in_todays_layout(reading.read(path, shapes_only=True), path, unpack=False)


def _in_todays_layout(
    state: Any, path: str, arg_overrides: Optional[dict[str, Any]] = None, unpack: bool = True
) -> dict[str, Any]:
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        held = f"the keys {', '.join(map(str, list(state)[:5]))}" if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"checkpoint {path} holds no model in fairseq's layout, but {held}")
    check_layout(state, path)
    if unpack and "packed_weights" in state:
        from fairseq.checkpoint.packed import unpack_state

        unpack_state(state, path)
    overrides = dict(arg_overrides or {})
    if state.get("args") is not None:
        for name, value in overrides.items():
            setattr(state["args"], name, value)
    with restoring(path, "layout"):
        upgrade_state(state, path)
    if state.get("cfg") is not None:
        state["cfg"] = config.typed(state["cfg"], path)
        if overrides:
            from fairseq.dataclass.utils import overwrite_args_by_name

            overwrite_args_by_name(state["cfg"], overrides)
    elif state.get("args") is not None:
        try:
            state["cfg"] = config.from_args(state["args"], path)
        except ConfigError as error:
            # not needed to take weights from the file; load_model_ensemble_and_task raises it
            logger.debug(f"checkpoint {path}: {error}")
            state["cfg"] = None
    return state


def get_maybe_sharded_checkpoint_filename(filename: str, suffix: str, shard_idx: int, num_shards: int) -> str:
    """The file's name with `suffix`, and with its part's number where it was saved in parts."""
    stem = filename[: -len(".pt")] if filename.endswith(".pt") else filename
    sharded = f"{stem}{suffix}-shard{shard_idx}.pt"
    if os.path.exists(sharded):
        return sharded
    if num_shards > 1:
        return f"{stem}{suffix}_part{shard_idx}.pt"
    return filename.replace(".pt", f"{suffix}.pt")
