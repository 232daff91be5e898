"""What a quantizer does to the tensors it rounds: statistics of its input x, its output Q(x), and of the error.

relative_l2     |Q(x) - x| / |x|
cosine          x Q(x) / (|x| |Q(x)|)
sqnr            10 log10(|x|^2 / |Q(x) - x|^2), in dB; about 6 dB per bit
bias            mean of Q(x) - x
clipped         share of the values outside the grid, in percent
worst_channel   the channel of the largest relative error, and its SQNR: of a weight's first axis, else of the last
                axis; none where the size of that axis changes
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.graph.statistics import Statistic
from fairseq.quantization.analysis.report import count_outside
from fairseq.quantization.spec import WEIGHT


class PointError(Statistic):
    """Sums over all tensors that one quantizer has rounded."""

    def __init__(self) -> None:
        self.count = self.outside = 0
        self.bits: set[int] = set()
        self.sums: Any = 0  # of x^2, Q(x)^2, x Q(x), (Q(x) - x)^2, Q(x) - x
        self.channels: Optional[Tensor] = None  # (2, C): signal and noise of each
        self.has_channels = True
        self.again = False

    @torch.no_grad()
    def add(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int) -> None:
        if self.again or not x.numel():
            return
        self.bits.add(num_bits)
        self.count += x.numel()
        wide, rounded = x.detach().float(), result.detach().float()
        self.outside += count_outside(quantizer, wide, num_bits)
        if quantizer.role == WEIGHT and x.dim() > 1:
            wide, rounded = (part.flatten(1).t() for part in (wide, rounded))  # (out, in) -> (in, out)
        wide, rounded = (
            part.reshape(-1, part.shape[-1]) if part.dim() else part.view(1, 1) for part in (wide, rounded)
        )
        error = rounded - wide
        signal, noise = (part.square().sum(0).double() for part in (wide, error))
        others = (rounded.square(), wide * rounded, error)
        squares, products, bias = (part.sum(0).double().sum() for part in others)
        self.sums = self.sums + torch.stack([signal.sum(), squares, products, noise.sum(), bias])
        by_channel = torch.stack([signal, noise])
        if self.channels is not None and self.channels.shape != by_channel.shape:
            self.has_channels = False
        elif self.has_channels:
            self.channels = by_channel if self.channels is None else self.channels + by_channel

    def next_pass(self) -> bool:
        self.again = True  # if others need one: everything has been seen here
        return False

    def result(self) -> dict[str, Any]:
        signal, squares, products, noise, bias = self.sums.tolist()
        lengths = math.sqrt(signal * squares)
        found: dict[str, Any] = {
            "bits": ", ".join(map(str, sorted(self.bits))),
            "relative_l2": math.sqrt(noise / signal) if signal else math.nan,
            "cosine": products / lengths if lengths else math.nan,
            "sqnr": decibel(signal, noise),
            "bias": bias / self.count,
            "clipped": 100 * self.outside / self.count,
        }
        if self.has_channels and self.channels is not None:
            signals, noises = self.channels
            ratio = torch.where(signals > 0, noises / signals, torch.zeros_like(noises))
            worst = int(ratio.argmax())
            found["worst_channel"] = worst
            found["worst_channel_sqnr"] = decibel(float(signals[worst]), float(noises[worst]))
        return {**found, "count": self.count}


def decibel(signal: float, noise: float) -> float:
    if signal == 0:
        return math.nan
    return 10 * math.log10(signal / noise) if noise > 0 else math.inf


class Points:
    """Callback of a quantization context: passes what quantizers round to `seen(quantizer, x, result, num_bits)`."""

    def __init__(self, wanted: Callable[[str], bool], seen: Callable[[Any, Tensor, Tensor, int], None]):
        self.wanted, self.seen = wanted, seen

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        if quantizer.role != WEIGHT and self.wanted(quantizer.path):
            self.seen(quantizer, x, result, num_bits)

    def product(self, path: str, kind: str, left: Any, right: Any, macs: int) -> None:
        pass


def belongs_to(layers: Iterable[str]) -> Callable[[str], bool]:
    """Whether a quantizer's path lies in one of `layers`."""
    starts = tuple(f"{layer}." if layer else "" for layer in layers)
    return lambda path: path.startswith(starts)
