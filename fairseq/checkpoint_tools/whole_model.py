"""A checkpoint's model together with all that its file holds, so that it can be changed and written again."""

from typing import Any, Optional

from torch import nn

from fairseq import checkpoint_utils
from fairseq.errors import CheckpointError


def load_with_heads(checkpoint: str, state: dict[str, Any]) -> tuple[nn.Module, Any, Any]:
    """Model, config and task of a checkpoint, with all heads that the file has."""
    cfg = state.get("cfg")
    saved: Any = None if cfg is None or "load_checkpoint_heads" not in cfg.model else cfg.model
    before = saved is not None and saved.load_checkpoint_heads
    if saved is not None:
        saved.load_checkpoint_heads = True
    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([checkpoint], state=state)
    if saved is not None:
        cfg.model.load_checkpoint_heads = before
    return models[0], cfg, task


def load_whole(checkpoint: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model, and the contents of the file with its typed config.

    Raises:
        CheckpointError: no such file, one that cannot be read, or that holds packed weights.
    """
    state: Optional[dict[str, Any]] = checkpoint_utils.load_checkpoint_to_cpu(checkpoint)
    assert state is not None
    if "packed_weights" in state:
        raise CheckpointError(f"checkpoint {checkpoint} is packed already; give the one that it was made from")
    model, cfg, _ = load_with_heads(checkpoint, state)
    return model, {**state, "args": None, "cfg": cfg}
