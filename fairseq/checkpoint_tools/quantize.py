"""From a checkpoint to a smaller one of packed weights: what `fairseq-quantize-checkpoint` does.

    summary = quantize_checkpoint("checkpoint_best.pt", "int8.pt")

A checkpoint that was trained quantized keeps its quantizers and ranges. A float one is given a preset's; ranges of its
activations are then measured on data, unless only its weights shall be quantized.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from torch import Tensor

from fairseq import checkpoint_utils
from fairseq.checkpoint import writing
from fairseq.checkpoint.format import portable
from fairseq.checkpoint.packed import pack_state
from fairseq.checkpoint_tools.batches import batches_of
from fairseq.checkpoint_tools.whole_model import load_with_heads
from fairseq.dataclass.quantization_file import read_in_place
from fairseq.dataclass.utils import to_container
from fairseq.errors import CheckpointError, ConfigError
from fairseq.output_files import check_output
from fairseq.quantization.integer_weights import pack_weights
from fairseq.quantization.quantized_model import quantization_of
from fairseq.training.calibration import BATCHES, calibrate, without_range
from fairseq.training.quantize import quantize

# everything but weights and tables; a rule may also switch single ones on again
WEIGHT_ONLY = {"match": r"re:(.*\.)?(?!weight$)[^.]+", "quantize": False}


@dataclass
class Summary:
    """What became of a checkpoint.

    Attributes:
        packed: key -> bits of the weights that are codes now.
        shared: keys of weights that are in use elsewhere too and stayed as they were.
        before, after: sizes of the files, in bytes.
        weights: bytes of the checkpoint's weights, which is its size without the optimizer's state.
        kept: bytes of what is not packed.
    """

    packed: dict[str, int]
    shared: list[str]
    before: int
    after: int
    weights: int
    kept: int


def quantize_checkpoint(
    checkpoint: str,
    out: str,
    *,
    preset: Optional[str] = None,
    num_bits: Optional[int] = None,
    weight_only: bool = False,
    half: bool = False,
    data: Optional[Path] = None,
    subset: str = "train",
    batches: int = BATCHES,
    batch_size: int = 16,
    overwrite: bool = False,
) -> Summary:
    """Write the model in `checkpoint` to `out` with packed weights.

    Args:
        preset: quantize a checkpoint that is not quantized yet; a preset, or a file that says how.
        num_bits: bits of weights and activations that are not pinned; by default those of evaluation.
        weight_only: leave activations in full precision.
        half: write what is not packed in fp16.
        data: folder of the task's data, if not the checkpoint's own; a float checkpoint's activations are calibrated
            on `batches` of its `subset`.
        overwrite: replace `out` if it is there.

    Raises:
        ConfigError: settings that contradict each other or the checkpoint; ranges that are needed and missing.
        CheckpointError: a file that cannot be read, written or packed once more.
    """
    if os.path.exists(out) and os.path.exists(checkpoint) and os.path.samefile(checkpoint, out):
        raise ConfigError(f"{out} is the checkpoint itself; choose another file, as the weights cannot be had back")
    check_output(Path(out), overwrite)
    state = checkpoint_utils.load_checkpoint_to_cpu(checkpoint, {} if data is None else {"data": str(data)})
    if "packed_weights" in state:
        raise CheckpointError(f"checkpoint {checkpoint} is packed already; give the one that it was made from")
    weights = _num_bytes(state["model"])
    model, cfg, task = load_with_heads(checkpoint, state)
    trained = cfg.quantization.preset != "none"
    if trained == (preset is not None):
        raise ConfigError(
            f"{checkpoint} is quantized ({cfg.quantization.preset}) already; leave out --quantization"
            if trained
            else f"{checkpoint} is not quantized; say how, for example --quantization int8"
        )
    if trained and weight_only:
        raise ConfigError(
            f"{checkpoint} was trained with its activations quantized; --weight-only is for checkpoints that are not"
        )
    if not trained:
        cfg.quantization.preset = preset
        read_in_place(cfg.quantization)
        cfg.quantization.num_bits = num_bits
    if num_bits is not None:
        cfg.quantization.eval_bits = num_bits
    if weight_only:
        cfg.quantization.rules = [*cfg.quantization.rules, WEIGHT_ONLY]
    if not trained or num_bits is not None:
        model = quantize(model, cfg.quantization)
        if state.get("quantization"):  # the same quantizers, at other bits
            quantization_of(model).load_state_dict(model, state["quantization"])
    model.eval()
    if lacking := without_range(model):
        if data is None:
            raise ConfigError(
                f"{len(lacking)} quantizers, {lacking[0]} first, have no range yet: give data to calibrate them "
                "(--data), or quantize weights only (--weight-only)"
            )
        criterion = task.build_criterion(cfg.criterion)
        samples = batches_of(task, subset, batch_size, batches, shuffle=True)
        calibrate(model, task, criterion, samples, batches)
    packed, shared = pack_weights(model)
    if not packed:
        raise ConfigError(f"{checkpoint}: there is no weight to pack; its rules leave them in full precision")
    kept = pack_state(state, packed, half)
    kept["args"], kept["cfg"] = None, to_container(cfg)
    kept["quantization"] = portable({**(state.get("quantization") or {}), **quantization_of(model).state_dict(model)})
    writing.save(kept, out)
    bits = {key: weight.num_bits for key, weight in packed.items()}
    sizes = os.path.getsize(checkpoint), os.path.getsize(out)
    return Summary(bits, shared, *sizes, weights, _num_bytes(kept["model"]))


def _num_bytes(weights: Mapping[str, Any]) -> int:
    """Bytes of tensors, tied ones counted once."""
    tensors = {value.data_ptr(): value for value in weights.values() if isinstance(value, Tensor)}
    return sum(value.numel() * value.element_size() for value in tensors.values())
