"""Activation quantizers as ONNX nodes, at the range and bits of evaluation.

    symmetric, affine   [Clip] -> QuantizeLinear(scale, zero point) -> DequantizeLinear(scale, zero point)
    affine_float_zp     Sub(low) -> [Clip] -> QuantizeLinear(scale, 0) -> DequantizeLinear(scale, 0) -> Add(low)
    floating point      QuantizeLinear(scale, 0) -> DequantizeLinear(scale / 2) -> Mul(2)

Clip is there where the grid has fewer levels than the integer type. Codes of 8 bits are stored without a sign. ONNX
divides by the scale where `affine` and `symmetric` multiply by its reciprocal, so a value half way between two codes
may become the other one.
"""

from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq.export.float_types import FloatType
from fairseq.export.graph import CodeType, Graph
from fairseq.export.grids import check_type, has_integer_zero, kept_qparams, rounding_type
from fairseq.quantization.formats import QParams
from fairseq.quantization.quantizer import Quantizer


class Names(NamedTuple):
    """What a quantizer has become.

    Attributes:
        codes: name of its codes; "" of floating point, which has values only.
        values: name of its values.
        shift: how much larger the codes are than the quantizer's.
    """

    codes: str
    values: str
    shift: int = 0


class Activations:
    """Writes activation quantizers, and remembers where their codes are.

    Attributes:
        found: quantizer path -> names of its codes and values. Quantizers of one tensor with one range share nodes.
        dequantized: results of DequantizeLinear nodes.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.found: dict[str, Names] = {}
        self.dequantized: set[str] = set()
        self._written: dict[Any, Names] = {}

    def __call__(self, quantizer: Quantizer, x: str, num_bits: Optional[int]) -> str:
        """The name of `x` rounded to `num_bits`; `x` itself without bits."""
        if num_bits is None:
            return x
        kind, qparams = rounding_type(quantizer, num_bits), kept_qparams(quantizer, num_bits)
        exact = kind is not None or has_integer_zero(quantizer)
        same = (
            x,
            kind,
            exact,
            qparams.quant_min,
            qparams.quant_max,
            str(qparams.scale.tolist()),
            str(qparams.zero_point.tolist()),
        )
        if same not in self._written:
            if kind is not None:
                self._written[same] = self._write_floats(quantizer, x, qparams.scale, *kind)
            else:
                self._written[same] = self._write(quantizer.path, x, qparams, exact)
        self.found[quantizer.path] = self._written[same]
        return self._written[same].values

    def _write_floats(self, quantizer: Quantizer, x: str, scale: Tensor, kind: FloatType, factor: float) -> Names:
        graph, path, whole = self.graph, quantizer.path, scale.reshape(-1)
        check_type(graph, quantizer, kind)
        axis = {} if whole.numel() == 1 else {"axis": -1}
        shape = whole.shape if axis else torch.Size()
        full, half = (
            graph.constant(f"{path}.{name}", (whole * by).reshape(shape))
            for name, by in (("scale", factor), ("half_scale", factor / 2))
        )
        zero = graph.raw(f"{path}.zero_point", np.zeros(shape, np.uint8), kind.name, kind.bits)
        codes = graph.add("QuantizeLinear", x, full, zero, name=f"{path}.codes", **axis)
        # onnxruntime takes DequantizeLinear on both sides of a MatMul for a product of integers, and then fails
        y = graph.add("DequantizeLinear", codes, half, name=f"{path}.half_values", **axis)
        return Names("", graph.add("Mul", y, graph.number(2.0), name=f"{path}.values"))

    def _write(self, path: str, x: str, qparams: QParams, exact: bool) -> Names:
        graph, kind = self.graph, CodeType(qparams.quant_min, qparams.quant_max, least=8)
        if kind.bits > 8:
            graph.needs(f"{path} at more than 8 bits")
        scale = qparams.scale
        offset = qparams.zero_point.expand_as(scale) if exact else torch.zeros_like(scale)
        # what is done to x before, and undone afterwards
        around = [] if exact else [("Sub", "Add", "low", qparams.zero_point)]
        if scale.numel() > 1:  # runtimes take one scale for all of an activation
            around += [("Div", "Mul", "scales", scale), ("Add", "Sub", "zero_points", offset)]
            scale, offset = torch.ones(1), torch.zeros(1)
        vectors = [graph.constant(f"{path}.{name}", _vector(value)) for *_, name, value in around]
        for (operator, *_), vector in zip(around, vectors, strict=True):
            x = graph.add(operator, x, vector)
        if (qparams.quant_min, qparams.quant_max) != (kind.low, kind.high):
            low, high = ((end - offset) * scale for end in (qparams.quant_min, qparams.quant_max))
            x = graph.add("Clip", x, *(graph.constant(f"{path}.{name}", _vector(end)) for name, end in
                                       (("min", low), ("max", high))))  # fmt: skip
        shift = 128 if kind.name == "INT8" else 0  # onnxruntime fails where such codes are transposed before a MatMul
        if shift:
            kind, offset = CodeType(0, 255), offset + shift
        both = (
            graph.constant(f"{path}.scale", scale.reshape(())),
            graph.codes(f"{path}.zero_point", offset.reshape(()), kind),
        )
        codes = graph.add("QuantizeLinear", x, *both, name=f"{path}.codes")
        y = graph.add("DequantizeLinear", codes, *both, name=f"{path}.values")
        self.dequantized.add(y)
        for (_, inverse, *_), vector in zip(reversed(around), reversed(vectors), strict=True):
            y = graph.add(inverse, y, vector)
        return Names(codes, y, shift)


def _vector(x: Tensor) -> Tensor:
    """A scalar, or a vector along the last axis."""
    return x.reshape(()) if x.numel() == 1 else x.flatten()
