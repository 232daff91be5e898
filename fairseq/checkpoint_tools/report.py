"""Measure the quantizers of a checkpoint, on data or on weights alone: what `fairseq-quant-report` does.

    rows = measure("checkpoint_best.pt", data=Path("RTE-bin"))

BitOPs come from a forward and a backward pass. Without data they are those of one made-up sentence of 64 tokens: their
shares hardly depend on what the tokens are, and nothing else of that pass is reported.
"""

from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn

from fairseq import checkpoint_utils
from fairseq.checkpoint_tools.batches import batches_of
from fairseq.dataclass.quantization_file import read_quantization
from fairseq.errors import ConfigError
from fairseq.job_progress import track
from fairseq.quantization.analysis.report import ReportRow, report
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.quantized_model import quantization_of
from fairseq.training.calibration import calibrate
from fairseq.training.quantize import quantize

TOKENS = 64


def measure(
    checkpoint: str,
    *,
    preset: Optional[str] = None,
    num_bits: Optional[int] = None,
    data: Optional[Path] = None,
    subset: str = "valid",
    batches: int = 4,
    batch_size: int = 16,
) -> list[ReportRow]:
    """One row per quantizer of the model in `checkpoint`.

    Args:
        preset: quantize a checkpoint that is not quantized yet; a preset, or a file that says how.
        num_bits: bits of quantizers that follow; the checkpoint's `eval_bits` if None.
        data: folder of the checkpoint's task, to measure activations and gradients on.

    Raises:
        ConfigError: a float checkpoint without `preset`, or a quantized one with it.
    """
    overrides = {} if data is None else {"data": str(data)}
    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([checkpoint], arg_overrides=overrides)
    model = models[0]
    if any(isinstance(module, QuantizedWeight) for module in model.modules()):
        raise ConfigError(f"{checkpoint} holds packed weights, which are rounded already; report on what was packed")
    if (cfg.quantization.preset == "none") == (preset is None):
        raise ConfigError(
            f"{checkpoint} is not quantized; say how, for example --quantization int8"
            if preset is None
            else f"{checkpoint} is quantized ({cfg.quantization.preset}) already; leave out --quantization"
        )
    samples = list(batches_of(task, subset, batch_size, batches, shuffle=False)) if data is not None else []
    criterion = task.build_criterion(cfg.criterion) if samples else None
    if preset is not None:
        model = quantize(model, read_quantization(preset))
        if samples:
            calibrate(model, task, criterion, samples)
    model.eval()
    if samples:
        return report(model, lambda model: _backward(criterion, model, samples), num_bits)
    rows, shares = report(model, None, num_bits), report(_ready(model), _made_up, num_bits)
    for row, share in zip(rows, shares, strict=True):
        row.bitops = share.bitops
    return rows


def _backward(criterion: Any, model: nn.Module, samples: list[Any]) -> None:
    with torch.enable_grad():
        for sample in track(samples, "measuring errors", unit="batch"):
            loss, _, _ = criterion(model, sample)
            loss.backward()
    model.zero_grad(set_to_none=True)


def _ready(model: nn.Module) -> nn.Module:
    """Running ranges that never saw data are filled by the made-up sentence; weights do not depend on them."""
    quantization_of(model).calibrate(model, [None], lambda model, _: _forward(model))
    return model


def _forward(model: Any) -> torch.Tensor:
    heads = list(getattr(model, "classification_heads", {}))
    words = len(getattr(getattr(model, "encoder", None), "dictionary", range(TOKENS)))
    limit = model.max_positions() if hasattr(model, "max_positions") else TOKENS
    tokens = torch.arange(min(TOKENS, limit) - 1).remainder(max(words - 4, 1)).add(4).unsqueeze(0)
    output, _ = model(tokens, features_only=bool(heads), **({"classification_head_name": heads[0]} if heads else {}))
    return output


def _made_up(model: nn.Module) -> None:
    with torch.enable_grad():
        _forward(model).sum().backward()
    model.zero_grad(set_to_none=True)
