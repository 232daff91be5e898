"""What quantization does to a model: one row per quantizer.

    bits          in force
    codes used    how many of the codes occur, in percent
    clipped       share of the values outside the grid, in percent
    SQNR          10 log10( mean x^2 / mean (Q(x) - x)^2 ), in dB; about 6 dB per bit
    BitOPs        share of the products that the quantizer's tensor enters, in percent (given data)

Weights need no data. Activations and gradients are measured on what `run` does with the model.

>>> from torch import nn
>>> from fairseq.quantization import quantize_model
>>> model = quantize_model(nn.Sequential(nn.Linear(64, 64)), "int8", num_bits=4)
>>> row = report(model)[0]
>>> row.quantizer, row.num_bits, row.codes_used > 90, row.clipped, 15 < row.sqnr < 30
('0.weight', 4, True, 0.0, True)
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.analysis.bitops import CostMeter
from fairseq.quantization.formats import format_text
from fairseq.quantization.plan.table import align
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.quantized_model import get_quantization
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import WEIGHT


@dataclass
class ReportRow:
    """One quantizer; None where nothing was measured. Shares in percent, SQNR in dB."""

    quantizer: str
    role: str
    format: str
    num_bits: Optional[int]
    codes_used: Optional[float] = None
    clipped: Optional[float] = None
    sqnr: Optional[float] = None
    bitops: Optional[float] = None


@contextmanager
def frozen(quantizer: Quantizer) -> Iterator[None]:
    """Its running range stays as it is inside the block."""
    before, quantizer.context.frozen = quantizer.context.frozen, True
    try:
        yield
    finally:
        quantizer.context.frozen = before


@torch.no_grad()
def count_outside(quantizer: Quantizer, wide: Tensor, num_bits: int) -> int:
    """How many values of an fp32 tensor lie outside the quantizer's grid."""
    with frozen(quantizer):
        pieces = zip(quantizer.pieces(wide), quantizer.qparams(wide, num_bits), strict=True)
        return sum(int((~quantizer.format.is_inside(piece, qparams)).sum()) for piece, qparams in pieces)


class Statistics:
    """Sums over all tensors that one quantizer has rounded."""

    def __init__(self, num_bits: int):
        self.num_bits = num_bits
        self.values = self.outside = 0
        self.signal = self.noise = 0.0
        self.codes: set[int] = set()

    @torch.no_grad()
    def add(self, quantizer: Quantizer, x: Tensor, result: Tensor) -> None:
        """Take account of one tensor and what it was rounded to."""
        wide = x.detach().float()
        self.values += x.numel()
        self.signal += float(wide.square().sum())
        self.noise += float((result.detach().float() - wide).square().sum())
        with frozen(quantizer):
            codes = quantizer.codes(x, self.num_bits) if bool(wide.isfinite().all()) else x.new_empty(0)
        self.codes.update(torch.unique(codes).tolist())
        self.outside += count_outside(quantizer, wide, self.num_bits)

    def fill(self, row: ReportRow, levels: int) -> None:
        """Write the results into `row`."""
        row.num_bits = self.num_bits
        row.codes_used = 100 * len(self.codes) / levels
        row.clipped = 100 * self.outside / max(self.values, 1)
        if self.signal > 0:
            row.sqnr = 10 * math.log10(self.signal / self.noise) if self.noise > 0 else math.inf


class Observing:
    """Callback that keeps statistics of activations and gradients."""

    def __init__(self) -> None:
        self.found: dict[str, Statistics] = {}

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        if quantizer.role != WEIGHT and x.numel():
            statistics = self.found.setdefault(quantizer.path, Statistics(num_bits))
            if statistics.num_bits == num_bits:
                statistics.add(quantizer, x, result)

    def product(self, path: str, kind: str, left: Any, right: Any, macs: int) -> None:
        pass


def report(
    model: nn.Module, run: Optional[Callable[[nn.Module], Any]] = None, num_bits: Optional[int] = None
) -> list[ReportRow]:
    """One row per quantizer of the plan.

    Args:
        model: quantized by `quantize_model`.
        run: does something with the model (a forward, maybe a backward), to measure activations and BitOPs on.
        num_bits: bits of quantizers that follow; the declared evaluation bits if None.

    Raises:
        ConfigError: a float model.
    """
    quantization = get_quantization(model)
    if quantization is None:
        raise ConfigError(
            "quantization report: the model is not quantized; give a preset, for example quantization=int8"
        )
    bits = num_bits or quantization.config.eval_bits
    observing, meter = Observing(), CostMeter(upper_bits=bits or 8)
    if run is not None:
        with meter.counting(model, quantization.context), quantization.context.with_callback(observing):
            run(model)
    for quantizer, weight in (pair for target in find_targets(model) for pair in target.weights()):
        in_force = quantizer.bits(bits)
        if in_force is not None:
            statistics = observing.found[quantizer.path] = Statistics(in_force)
            statistics.add(quantizer, weight, quantizer.fake(weight, in_force))

    quantizers = {module.path: module for module in model.modules() if isinstance(module, Quantizer)}
    whole = meter.total.quantized + meter.total.full
    rows = []
    for planned in quantization.plan.rows:
        row = ReportRow(
            planned.quantizer, planned.role, format_text(planned.spec.format) if planned.active else "", None
        )
        rows.append(row)
        if planned.active and planned.quantizer in observing.found:
            statistics = observing.found[planned.quantizer]
            statistics.fill(row, quantizers[planned.quantizer].format.num_levels(statistics.num_bits))
        if whole and planned.product in meter.by_path:
            spent = meter.by_path[planned.product]
            row.bitops = 100 * (spent.quantized + spent.full) / whole
    return rows


def table(rows: Sequence[ReportRow]) -> str:
    """Aligned text."""

    def number(value: Optional[float], digits: int = 1) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return align(
        [
            {
                "quantizer": row.quantizer,
                "format": row.format or "full precision",
                "bits": "-" if row.num_bits is None else str(row.num_bits),
                "codes used %": number(row.codes_used),
                "clipped %": number(row.clipped, 2),
                "SQNR dB": number(row.sqnr),
                "BitOPs %": number(row.bitops, 2),
            }
            for row in rows
        ]
    )


def to_json(rows: Sequence[ReportRow]) -> str:
    """JSON text; an infinite SQNR (an exact tensor) is null."""
    plain = [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(row).items()
        }
        for row in rows
    ]
    return json.dumps(plain, indent=2)
