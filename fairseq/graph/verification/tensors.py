"""What a quantizer has made of its tensors, held against the definition of its number format.

on grid     every value is a level: dequantize(c) for a code c of the format
levels      distinct values that share a scale; at most 2^bits
error       largest |Q(x) - x| of the values inside the grid, in half steps (uniform formats): at most 1
nearest     no neighbouring level is nearer than the one that was taken, or the format's own thresholds say so
clipped     share of the values outside the grid, in percent
sqnr        10 log10(|x|^2 / |Q(x) - x|^2), in dB

>>> from fairseq.quantization.quantizer import ACTIVATION, QuantizationContext, Quantizer, QuantizerSpec
>>> quantizer = Quantizer("fc.input", ACTIVATION, QuantizerSpec(format="symmetric"), QuantizationContext())
>>> check, x = TensorCheck(quantizer, 3), torch.tensor([[0.1, -1.0, 0.7]])
>>> check.add(x, quantizer.fake(x, 3))
>>> check.failures(), check.row().levels, check.row().code_low
([], 3, -3)
>>> check.add(x, x)
>>> check.failures()
['fc.input holds values off the grid of symmetric at 3 bits']
"""

import math
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.graph.point_errors import decibel
from fairseq.graph.verification.plain import plain_codes, widened
from fairseq.quantization.analysis.report import frozen
from fairseq.quantization.formats import NumberFormat, QParams, format_text
from fairseq.quantization.quantizer import Quantizer


@dataclass
class TensorRow:
    """One tensor of one quantizer; None where it cannot be told, as errors of codes without their weight.

    Attributes:
        quantizer, role, format, bits: of the quantizer.
        on_grid: see above.
        levels, allowed: the most distinct values of one scale, and how many the bits allow.
        code_low, code_high: smallest and largest code.
        max_error: see `error` above.
        nearest, clipped, sqnr: see above.
        stored: of a weight, whether the parameter itself lies on the grid already.
    """

    quantizer: str
    role: str
    format: str
    bits: int
    on_grid: bool
    levels: int
    allowed: int
    code_low: Optional[int] = None
    code_high: Optional[int] = None
    max_error: Optional[float] = None
    nearest: Optional[bool] = None
    clipped: Optional[float] = None
    sqnr: Optional[float] = None
    stored: Optional[bool] = None


class TensorCheck:
    """Of one quantizer, over all tensors that it has rounded."""

    def __init__(self, quantizer: Quantizer, num_bits: int):
        self.quantizer, self.num_bits = quantizer, num_bits
        self.on_grid = self.is_nearest = True
        self.stored: Optional[bool] = None
        self.levels = self.count = self.outside = 0
        self.codes: list[int] = []
        self.signal = self.noise = 0.0
        self.error: Optional[float] = None
        self.has_source = False

    @torch.no_grad()
    def add(self, x: Tensor, result: Tensor) -> None:
        """`x` was rounded to `result`."""
        if not x.numel():
            return
        quantizer, wide, rounded = self.quantizer, widened(x), widened(result)
        self.has_source = True
        self.count += x.numel()
        self.signal += float(wide.double().square().sum())
        self.noise += float((rounded.double() - wide.double()).square().sum())
        steered = wide if quantizer.learned is None else quantizer.learned.steered(wide)
        number_format = quantizer.format.bound_to(steered)
        with frozen(quantizer):
            all_qparams = quantizer.qparams(steered, self.num_bits)
        for piece, value, qparams in zip(
            quantizer.pieces(steered), quantizer.pieces(rounded), all_qparams, strict=True
        ):
            codes = self._look(number_format, value, qparams, result.dtype)
            self._compare(number_format, piece, value, codes, qparams, result.dtype)
        if not self.is_nearest:  # some formats have thresholds that are not halfway
            expected = plain_codes(quantizer, x, self.num_bits)[1].to(result.dtype)
            self.is_nearest = bool(torch.isclose(expected.float(), result.float(), rtol=1e-6, atol=0.0).all())

    @torch.no_grad()
    def add_values(self, values: Tensor, all_qparams: list[QParams]) -> None:
        """`values` of codes whose weight is not known, on grids of their own."""
        for value, qparams in zip(self.quantizer.pieces(values), all_qparams, strict=True):
            self._look(self.quantizer.format.bound_to(values), value, qparams, torch.float32)

    def _look(self, number_format: NumberFormat, value: Tensor, qparams: QParams, dtype: torch.dtype) -> Tensor:
        """The codes of rounded values, from which it is seen whether they are levels."""
        codes = number_format.quantize(value, qparams)
        slack = 4 * torch.finfo(torch.float32).eps * (value.abs() + _offset(number_format, qparams))

        def is_level(codes: Tensor) -> Tensor:
            back = number_format.dequantize(codes, qparams)
            return ((back - value).abs() <= slack) | (back.to(dtype) == value.to(dtype)) | value.isnan()

        same = is_level(codes)
        # a threshold off the middle of two levels, as that of `binary_centered`, takes some levels for their neighbours
        for direction in (-1, 1):
            beside = (codes + direction).clamp(qparams.quant_min, qparams.quant_max)
            moved = ~same & is_level(beside)
            codes, same = torch.where(moved, beside, codes), same | moved
        self.on_grid = self.on_grid and bool(same.all())
        self.levels = max(self.levels, _levels(value, qparams.scale))
        finite = codes[codes.isfinite()]
        if finite.numel():
            self.codes += [int(finite.min()), int(finite.max())]
        return codes

    def _compare(
        self, number_format: NumberFormat, x: Tensor, value: Tensor, codes: Tensor, qparams: QParams,
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        inside = number_format.is_inside(x, qparams)
        self.outside += x.numel() - int(inside.sum())
        error = (value - x).abs()
        slack = 4 * torch.finfo(torch.float32).eps * (x.abs() + value.abs() + _offset(number_format, qparams))
        if dtype != torch.float32 and dtype != torch.float64:
            slack = slack + torch.finfo(dtype).eps * value.abs()
        finite = x.isfinite() & value.isfinite()
        if number_format.is_uniform and bool((inside & finite).any()):
            step = qparams.scale.expand_as(x)
            excess = ((error - slack).clamp(min=0) / (step / 2))[inside & finite]
            self.error = max(self.error or 0.0, float(excess.max()))
        for direction in (-1, 1):
            neighbour = number_format.dequantize(
                (codes + direction).clamp(qparams.quant_min, qparams.quant_max), qparams
            )
            if self.quantizer.stochastic:  # one of the two levels around x
                is_nearer = ((neighbour - value) * (x - value) > 0) & (
                    (x - value).abs() > (neighbour - value).abs() + slack
                )
                is_nearer = is_nearer & inside
            else:
                is_nearer = (neighbour - x).abs() < error - slack
            self.is_nearest = self.is_nearest and not bool((is_nearer & finite).any())

    # --- results --------------------------------------------------------------------------------------------------

    @property
    def allowed(self) -> int:
        """How many values of one scale the bits allow."""
        return min(2**self.num_bits, self.quantizer.format.num_levels(self.num_bits))

    def failures(self) -> list[str]:
        """What is wrong, a line each."""
        path, name = self.quantizer.path, f"{self.quantizer.format} at {self.num_bits} bits"
        found = []
        if not self.on_grid:
            found.append(f"{path} holds values off the grid of {name}")
        if self.levels > self.allowed:
            found.append(f"{path} holds {self.levels} values of one scale; {name} has {self.allowed}")
        most = 2.0 if self.quantizer.stochastic else 1.0
        if self.error is not None and self.error > most + 2.0 ** (self.num_bits - 20):
            found.append(f"{path} is off by {self.error:.4g} half steps inside the grid of {name}")
        elif not self.is_nearest:
            found.append(f"{path} does not hold the nearest levels of {name}")
        return found

    def row(self) -> TensorRow:
        quantizer = self.quantizer
        row = TensorRow(
            quantizer.path, quantizer.role, format_text(quantizer.format.spec()), self.num_bits, self.on_grid,
            self.levels, self.allowed, stored=self.stored,
        )  # fmt: skip
        if self.codes:
            row.code_low, row.code_high = min(self.codes), max(self.codes)
        if self.has_source:
            row.max_error, row.nearest = self.error, self.is_nearest
            row.clipped = 100 * self.outside / self.count
            row.sqnr = decibel(self.signal, self.noise)
        return row


def _offset(number_format: NumberFormat, qparams: QParams) -> Any:
    """The magnitude that is added to a multiple of the scale, and of which rounding errors are a part."""
    if number_format.is_uniform and not number_format.has_exact_zero:
        return qparams.zero_point.abs()
    return 0.0


def _levels(values: Tensor, scale: Tensor) -> int:
    """The largest number of distinct values that share a scale; `scale` broadcasts against `values`."""
    if not values.numel():
        return 0
    sizes = [1] * (values.dim() - scale.dim()) + list(scale.shape)
    shared = [axis for axis in range(values.dim()) if sizes[axis] == 1]
    kept = [axis for axis in range(values.dim()) if sizes[axis] != 1]
    rows = values.permute(*kept, *shared).reshape(math.prod(values.shape[axis] for axis in kept), -1)
    rows = rows.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).sort(-1).values
    is_new = torch.cat([torch.ones_like(rows[:, :1], dtype=torch.bool), rows[:, 1:] != rows[:, :-1]], 1)
    return int((is_new & rows.isfinite()).sum(-1).max())
