"""What a model costs, without training it.

    average_bits = sum of bits over weights that are multiplied / their number        32 in full precision
    memory       = packed weights with their scales, and all else as it is            MiB
    bitops       = sum over products of MACs * bits of one operand * bits of the other, for one example

Bits are those of evaluation. Weights that a forward pass does not multiply - embeddings, which are looked up, and heads
of another task - count in `memory` alone. A tensor that two modules share counts once.

>>> from fairseq.quantization import quantize_model
>>> model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
>>> average_bits(model), average_bits(quantize_model(model, "int8", rules=[{"match": "0.*", "quantize": False}]))
(32.0, 20.0)
"""

import math
import statistics
import time
from collections.abc import Callable, Container
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.quantization.analysis.bitops import FULL_BITS, CostMeter
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.integer_weights import pack_weights
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.quantized_model import get_quantization

MIB = 2**20


def weight_bits(model: nn.Module, used: Optional[Container[str]] = None) -> list[tuple[Tensor, int]]:
    """Every weight that is multiplied, once, with its bits in evaluation.

    Args:
        used: paths of the products that a forward pass runs (`products`); None: all may run.
    """
    quantization = get_quantization(model)
    bits = None if quantization is None else quantization.config.eval_bits
    found: dict[int, tuple[Tensor, int]] = {}
    for target in find_targets(model):
        if not target.multiplies or (used is not None and target.path not in used):
            continue
        for quantizer, weight in target.weights():
            own = quantizer.bits(bits)
            found.setdefault(id(weight), (weight, FULL_BITS if own is None else own))
        for parameter in target.module.parameters():
            if parameter.dim() > 1:  # biases are added
                found.setdefault(id(parameter), (parameter, FULL_BITS))
    return list(found.values())


def average_bits(model: nn.Module, used: Optional[Container[str]] = None) -> float:
    """Bits of a weight on the average over all that are multiplied; 32 for a model that has none."""
    pairs = weight_bits(model, used)
    total = sum(weight.numel() for weight, _ in pairs)
    return sum(weight.numel() * bits for weight, bits in pairs) / total if total else float(FULL_BITS)


def memory(model: nn.Module) -> float:
    """MiB of all parameters: codes and scales where a weight is rounded, each shared tensor once."""
    packed: dict[str, Any] = {} if get_quantization(model) is None else pack_weights(model)[0]
    named = dict(model.named_parameters())
    total = sum(weight.num_bytes for weight in packed.values())
    total += sum(tensor.numel() * tensor.element_size() for name, tensor in named.items() if name not in packed)
    return float(total) / MIB


def products(model: nn.Module, forward: Callable[[], Any]) -> dict[str, float]:
    """Path of each product that `forward` runs, and of each module that has one -> its bit operations."""
    quantization = get_quantization(model)
    context = QuantizationContext() if quantization is None else quantization.context
    meter = CostMeter(FULL_BITS)
    with torch.no_grad(), meter.counting(model, context):
        forward()
    return {path: cost.quantized + cost.full for path, cost in meter.by_path.items() if cost.quantized + cost.full}


def latency(forward: Callable[[], Any], repeats: int, warm_up: int = 2) -> float:
    """Median time of `forward`, in ms."""
    times = []
    with torch.no_grad():
        for index in range(repeats + warm_up):
            start = time.perf_counter()
            forward()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if index >= warm_up:
                times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def costs(
    model: nn.Module, forward: Optional[Callable[[], Any]] = None, examples: int = 1, repeats: int = 0
) -> dict[str, float]:
    """All of them, by the names of objectives.

    Args:
        forward: runs the model on a batch of `examples`; without it there are no `bitops`.
        repeats: of the measurement of `latency`; 0: it is not measured.
    """
    found = {"memory": memory(model), "parameters": sum(parameter.numel() for parameter in model.parameters())}
    used = None
    if forward is not None:
        used = products(model, forward)
        found["bitops"] = math.fsum(used.values()) / examples
    found["average_bits"] = average_bits(model, used)
    if forward is not None and repeats:
        found["latency"] = latency(forward, repeats)
    return found
