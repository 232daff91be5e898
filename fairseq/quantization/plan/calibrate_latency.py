"""Measured times of linear layers and of attention, simulated and in integers, and the latency models fitted to them.

    latencies = measure()           # seconds; `latency_cache.latencies()` does this once for a machine

The two computations alternate and the minimum of each counts, because other work on the machine only adds time.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from fairseq.native.compiled import compiler
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.matmul import MatMul, QMatmul
from fairseq.quantization.plan.config import read_config
from fairseq.quantization.plan.latency import ComputeTimes, Latencies, LinearLatency, OpCount
from fairseq.quantization.plan.resolve import plan_specs
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.products.integer_attention import integer_attention

LINEAR = ((64, 64, 64), (512, 256, 256), (1024, 256, 1024), (1024, 768, 768))  # rows, inputs, outputs
ATTENTION = ((32, 32, 16), (64, 64, 16), (128, 64, 32), (64, 64, 64), (48, 128, 64))  # heads, length, features
REPEATS = 7
BITS = 8

Update = Callable[[], None]


class Products(nn.Module):
    """Attention between its projections, as `MultiheadAttention` has it."""

    def __init__(self) -> None:
        super().__init__()
        self.qk_matmul, self.pv_matmul = MatMul("query", "key"), MatMul("probs", "value", "output")

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (T, B, D), the order that projections write, -> (T, B, D)."""
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))  # (B, T, D)
        context: Optional[Tensor] = None
        if isinstance(self.qk_matmul, QMatmul) and isinstance(self.pv_matmul, QMatmul):
            products = self.qk_matmul.quantizers, self.pv_matmul.quantizers
            context = integer_attention(*products, q, k, v, None, 1, 1.0, None, None)
        if context is None:
            context = self.pv_matmul(self.qk_matmul(q, k.mT).softmax(-1), v)
        return context.transpose(0, 1).contiguous()


def measure(device_type: str = "cpu") -> Latencies:
    """Fitted latencies of both kinds of product; the RNG state and grad mode are restored."""
    with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
        linear = [
            (OpCount.of_linear(rows, inputs, outputs), _both(nn.Linear(inputs, outputs), [(rows, inputs)], device_type))
            for rows, inputs, outputs in LINEAR
        ]
        attention = [
            (OpCount.of_attention(heads, length, width), _both(Products(), [(length, heads, width)] * 3, device_type))
            for heads, length, width in ATTENTION
        ]
    return Latencies(_lines(linear), _lines(attention))


def _lines(found: Sequence[tuple[OpCount, dict[str, float]]]) -> ComputeTimes:
    return ComputeTimes(*(fit([(count, seconds[way]) for count, seconds in found]) for way in ComputeTimes._fields))


def fit(found: Sequence[tuple[OpCount, float]]) -> LinearLatency:
    """Least squares of the relative errors, without negative costs: a term that would be negative is left out."""
    rows = torch.tensor([[*count, 1.0] for count, _ in found], dtype=torch.float64)
    measured = torch.tensor([seconds for _, seconds in found], dtype=torch.float64)
    weighted = rows / measured[:, None]
    size = weighted.abs().amax(0)
    kept = [0, 1, 2]
    while True:
        solution: Tensor = torch.linalg.lstsq(weighted[:, kept] / size[kept], torch.ones_like(measured)[:, None])[0]
        if bool((solution >= 0).all()) or len(kept) == 1:
            break
        del kept[int(solution.argmin())]
    line = [0.0, 0.0, 0.0]
    for index, value in zip(kept, solution.view(-1).tolist(), strict=True):
        line[index] = value / float(size[index])
    return LinearLatency(*line)


def _both(module: nn.Module, shapes: Sequence[tuple[int, ...]], device_type: str) -> dict[str, float]:
    """Best seconds of forward and backward on tensors of those shapes, simulated and in integers."""
    updates = {way: _update(copy.deepcopy(module), way, shapes, device_type) for way in ComputeTimes._fields}
    with _compiling():
        for update in updates.values():
            update()
    best = dict.fromkeys(updates, float("inf"))
    for _ in range(REPEATS):
        for way, update in updates.items():
            start = time.perf_counter()
            update()
            best[way] = min(best[way], time.perf_counter() - start)
    return best


def _update(module: nn.Module, compute: str, shapes: Sequence[tuple[int, ...]], device_type: str) -> Update:
    """Forward and backward of `module`, quantized by the preset int8, on random tensors of `shapes`."""
    # without a path of its own a product of activations would have none for its quantizers
    model = nn.Sequential(module) if isinstance(module, nn.Linear) else module
    context = QuantizationContext(default_bits=BITS, fused=True)
    targets = find_targets(model)
    specs = plan_specs(targets, read_config("int8", compute=compute))
    for target in targets:
        model.set_submodule(target.path, target.install(specs, context, BITS))
    model.to(device_type)
    inputs = [torch.randn(shape, device=device_type, requires_grad=True) for shape in shapes]

    def forward() -> Tensor:
        with context.call(BITS, training=True):
            return model(*inputs)  # type: ignore[no-any-return]

    grad = torch.randn_like(forward())
    count = 0

    def update() -> None:
        nonlocal count
        context.set(count)
        count += 1
        forward().backward(grad)
        model.zero_grad()
        if device_type == "cuda":
            torch.cuda.synchronize()

    return update


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """Kernels are compiled when they are first used: a training run will have compiled them."""
    before, compiler().break_even = compiler().break_even, 0
    try:
        yield
    finally:
        compiler().break_even = before
