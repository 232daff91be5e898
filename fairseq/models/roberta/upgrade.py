"""Bringing RoBERTa's state dicts up to date, in place: old key layouts, heads that do not fit, parts that are missing.

Rules for classification heads:
1. a head that the model does not have is dropped, or registered if `load_checkpoint_heads` is set;
2. a head of another size than the model's is dropped;
3. a head (or language model head) that the state dict lacks keeps the model's current weights.

A model for shorter inputs than the state dict's (`task.max_positions=128` of 512) takes the first positions only.
"""

import logging
from typing import Any, Protocol

from torch import Tensor, nn

from fairseq.modules.learned_positional_embedding import LearnedPositionalEmbedding

logger = logging.getLogger(__name__)

StateDict = dict[str, Any]


class WithHeads(Protocol):
    """What is used of a `RobertaModel`."""

    args: Any
    encoder: Any
    classification_heads: nn.ModuleDict

    def register_classification_head(self, name: str, num_classes: Any = None, inner_dim: Any = None) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...


def rename_old_keys(state_dict: StateDict, prefix: str) -> None:
    """Keys from before the encoder was called encoder and the embedding's layer norm got its name.

    >>> state = {"decoder.sentence_encoder.emb_layer_norm.bias": 1}
    >>> rename_old_keys(state, "")
    >>> state
    {'encoder.sentence_encoder.layernorm_embedding.bias': 1}
    """
    for key in list(state_dict):
        new = key
        if new.startswith(f"{prefix}decoder."):
            new = f"{prefix}encoder.{new[len(prefix) + len('decoder.') :]}"
        if ".emb_layer_norm." in new:
            new = new.replace(".emb_layer_norm.", ".layernorm_embedding.")
        if new != key:
            state_dict[new] = state_dict.pop(key)


def cut_positions(model: WithHeads, state_dict: StateDict, prefix: str) -> None:
    """Leave out the trained positions that the model is too short for."""
    table = model.encoder.sentence_encoder.embed_positions
    key = f"{prefix}encoder.sentence_encoder.embed_positions.weight"
    saved = state_dict.get(key)
    if saved is None or not isinstance(table, LearnedPositionalEmbedding) or len(saved) <= len(table.weight):
        return
    unused = len(table.weight) - table.max_positions  # rows in front of the first position
    logger.info(
        "the checkpoint has %d positions, task.max_positions=%d: the others are left out",
        len(saved) - unused,
        table.max_positions,
    )
    state_dict[key] = saved[: len(table.weight)].clone()


def sort_out_heads(model: WithHeads, state_dict: StateDict, prefix: str) -> None:
    """Apply rules 1 and 2 to the classification heads in `state_dict`."""
    heads_prefix = f"{prefix}classification_heads."
    for name in _head_names(state_dict, heads_prefix):
        inner_dim, num_classes = _dimensions(state_dict, f"{heads_prefix}{name}.")
        if name not in model.classification_heads:
            if model.args.load_checkpoint_heads:
                model.register_classification_head(name, num_classes, inner_dim)
                continue
            reason = "this model has no such head (model.load_checkpoint_heads=true keeps it)"
        else:
            own: Any = model.classification_heads[name]
            if (own.dense.out_features, own.out_proj.out_features) == (inner_dim, num_classes):
                continue
            reason = (
                f"it has {num_classes} classes and width {inner_dim},"
                f" the model's head {own.out_proj.out_features} and {own.dense.out_features}"
            )
        logger.warning("not loading classification head %r of the checkpoint: %s", name, reason)
        for key in [key for key in state_dict if key.startswith(f"{heads_prefix}{name}.")]:
            del state_dict[key]


def keep_missing_parts(model: WithHeads, state_dict: StateDict, prefix: str) -> None:
    """Apply rule 3: give `state_dict` the model's own values for heads that it lacks."""
    own = model.state_dict()
    parts = ("classification_heads.", "encoder.lm_head.")
    missing = [key for part in parts for key in own if key.startswith(part) and prefix + key not in state_dict]
    modules = list(dict.fromkeys(".".join(key.split(".")[:2]) for key in missing))
    short = f"not in the checkpoint, so they keep their initial values: {', '.join(modules)}"
    for key in missing:
        logger.info(
            "Overwriting %s: not in the checkpoint, the model's own value is kept",
            prefix + key,
            extra={"terminal": short},
        )
        state_dict[prefix + key] = own[key]
        short = ""


def _head_names(state_dict: StateDict, heads_prefix: str) -> list[str]:
    names = (key[len(heads_prefix) :].split(".")[0] for key in state_dict if key.startswith(heads_prefix))
    return list(dict.fromkeys(names))


def _dimensions(state_dict: StateDict, head_prefix: str) -> tuple[int, int]:
    """Pooled width and number of classes of a stored head."""
    output = state_dict.get(f"{head_prefix}out_proj.weight")
    if output is None:
        output = state_dict[f"{head_prefix}out_proj.weight_orig"]  # spectral norm stores it so
    dense: Tensor = state_dict[f"{head_prefix}dense.weight"]
    return dense.size(0), output.size(0)
