"""Checkpoints of ours whose model has been changed by passes: what is written beside the weights, and read again.

    transforms       {"passes": [{"pass": ..., "options": ...}], "inputs": [...], "leaves": [...], "head": ...},
                     see `fairseq.graph.replay`
    cfg.quantization the rules of its quantizers, as in a checkpoint that was trained with them

So `fairseq-validate --path` and `fairseq-train --restore-file` take such a file as any other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fairseq.checkpoint import writing
from fairseq.checkpoint.format import portable
from fairseq.checkpoint.packed import AVERAGES
from fairseq.dataclass.utils import to_container
from fairseq.graph.inputs import head_of
from fairseq.graph.replay import KEY, group_of
from fairseq.quantization.quantized_model import get_quantization


def write_checkpoint(
    path: Path,
    state: Mapping[str, Any],
    model: nn.Module,
    steps: Sequence[Mapping[str, Any]],
    inputs: Sequence[str],
    leaves: Sequence[str] = (),
) -> None:
    """Write `model` as a checkpoint.

    Args:
        state: of the checkpoint that it comes from; its optimizer state and averaged weights do not fit any more.
        steps: passes since then, with their options.
        inputs: descriptions of the inputs that they were done with.
        leaves: paths of the parts that stayed one node.
    """
    kept = {key: value for key, value in state.items() if key not in ("last_optimizer_state", "quantization")}
    kept["extra_state"] = {key: value for key, value in state["extra_state"].items() if key not in AVERAGES}
    kept["cfg"] = to_container(state["cfg"])
    quantization = get_quantization(model)
    if quantization is not None:
        kept["cfg"]["quantization"] = group_of(quantization.config)
    elif kept["cfg"].get("quantization") is not None:
        kept["cfg"]["quantization"] = {"preset": "none"}
    kept["model"] = model.state_dict()
    earlier = state.get(KEY) or {"passes": []}
    kept[KEY] = {
        "passes": [*earlier["passes"], *map(dict, steps)], "inputs": list(inputs), "leaves": list(leaves),
        "head": head_of(model),
    }  # fmt: skip
    kept = portable(kept)
    if quantization is not None:
        kept["quantization"] = portable(quantization.state_dict(model))
    writing.save(kept, str(path))
