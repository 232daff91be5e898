"""Ranges of activations for a model that was not trained quantized: measured on batches of its task's training data.

model = quantize(model, {"preset": "int8"})
calibrate(model, task, criterion, batches_of(task, "train", batch_size=16, count=16, shuffle=True))
"""

from collections.abc import Iterable
from typing import Any, Optional

from torch import nn

from fairseq.job_progress import track
from fairseq.quantization.observers.running import RunningObserver
from fairseq.quantization.quantized_model import quantization_of
from fairseq.quantization.quantizer import ACTIVATION, Quantizer
from fairseq.quantization.rounding.learned_qparams import LearnedQParams

BATCHES = 16  # some hundred examples are usually enough


def without_range(model: nn.Module) -> list[str]:
    """Paths of activation quantizers in use that wait for data."""
    waiting = []
    for module in model.modules():
        if not isinstance(module, Quantizer) or module.role != ACTIVATION or not module.spec.quantize:
            continue
        if isinstance(module.learned, LearnedQParams):
            lacks = not module.learned.is_initialized
        else:
            lacks = isinstance(module.observer, RunningObserver) and not module.observer.has_data
        if lacks:
            waiting.append(module.path)
    return waiting


def calibrate(model: nn.Module, task: Any, criterion: Any, samples: Iterable[Any], count: Optional[int] = None) -> None:
    """Set the running ranges of `model`, which is quantized, by validation steps on `samples`.

    Args:
        count: how many samples come, to estimate the time left.
    """
    samples = track(samples, "measuring ranges", count, "batch")
    quantization_of(model).calibrate(model, samples, lambda model, sample: task.valid_step(sample, model, criterion))
