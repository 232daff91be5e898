"""Weights as ONNX constants: numbers, or codes of 2, 4, 8 or 16 bits with a DequantizeLinear behind them.

    weight = Weight.of(layer, "encoder.fc1")
    weight.write(graph)                         # (R, C), for a table
    weight.write_transposed(graph, alone=False) # (C, R), for MatMul

`(code - zero point) * scale` is also our own arithmetic, so values are the same bit for bit. Scales may be one for all,
one per row or column, or one per group of a row. Codes of floating-point formats are numbers of ONNX's own types.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.export.float_types import FloatType, float_type
from fairseq.export.graph import CodeType, Graph
from fairseq.export.grids import check_type, has_integer_zero, whole_levels
from fairseq.quantization.formats import QParams
from fairseq.quantization.quantizer import Quantizer


class Axis(NamedTuple):
    """How scales lie in a weight: one for all (`axis` None), one per index of `axis`, or one per `block` of it."""

    axis: Optional[int]
    block: Optional[int] = None

    @classmethod
    def of(cls, quantizer: Quantizer) -> "Axis":
        """The axis of a matrix with the quantizer's granularity."""
        kind, number = quantizer.granularity.kind, quantizer.granularity.number
        if kind == "tensor":
            return cls(None)
        if kind == "group":
            return cls(1, number)
        if quantizer.granularity.sizes is not None:  # with a row of scales for each row of values
            return cls(1, quantizer.granularity.sizes[1])
        return cls(0 if kind == "token" or number is None else number % 2)

    def transposed(self) -> "Axis":
        """The same in the transposed matrix."""
        return self if self.axis is None else self._replace(axis=1 - self.axis)

    def shaped(self, x: Tensor) -> Tensor:
        """Scales as ONNX wants them: a scalar, a vector along the axis, or a matrix of blocks."""
        if self.axis is None:
            return x.reshape(())
        return x if self.block is not None else x.flatten()

    def attributes(self) -> dict[str, int]:
        """Of DequantizeLinear."""
        found = {} if self.axis is None else {"axis": self.axis}
        return found if self.block is None else {**found, "block_size": self.block}


def bias_values(layer: Any) -> Tensor:
    """The bias of a linear layer as evaluation adds it."""
    bias: Tensor = layer.bias.detach()
    quantizers = getattr(layer, "quantizers", None)
    quantizer: Optional[Quantizer] = None if quantizers is None else quantizers._modules.get("bias")
    num_bits = None if quantizer is None else quantizer.bits(quantizer.context.default_bits)
    return bias if quantizer is None or num_bits is None else quantizer.fake(bias, num_bits)


class Weight(NamedTuple):
    """A matrix (R, C).

    Attributes:
        name: of the constant.
        value: the numbers.
        quantizer, num_bits: how it is rounded; None for full precision.
        integers: its codes, where these are all that is left of it (`fairseq.quantization.products.integer_weight`).
    """

    name: str
    value: Tensor
    quantizer: Optional[Quantizer] = None
    num_bits: Optional[int] = None
    integers: Any = None

    @classmethod
    def of(cls, layer: Any, path: str) -> "Weight":
        """The weight of a linear layer or an embedding at `path`, at the bits of evaluation."""
        name, value = f"{path}.weight", layer.weight.detach()
        quantizers = getattr(layer, "quantizers", None)
        if quantizers is None:
            return cls(name, value)
        quantizer = quantizers.get_submodule("weight")
        num_bits = quantizer.bits(quantizer.context.default_bits)
        return cls(name, value, quantizer, num_bits, getattr(quantizers, "integers", None))

    def write(self, graph: Graph) -> str:
        """The name of (R, C)."""
        if self.quantizer is None or self.num_bits is None:
            return graph.constant(self.name, self.value)
        codes, qparams, axis = self._codes()
        return self._write(graph, self.quantizer, codes, qparams, axis, alone=False)

    def write_transposed(self, graph: Graph, alone: bool) -> str:
        """The name of the transpose (C, R). `alone`: what it is multiplied with comes from no DequantizeLinear."""
        if self.quantizer is None or self.num_bits is None:
            return graph.constant(self.name, self.value.t())
        codes, qparams, axis = self._codes()
        transposed = qparams._replace(scale=qparams.scale.t(), zero_point=qparams.zero_point.t())
        return self._write(graph, self.quantizer, codes.t(), transposed, axis.transposed(), alone)

    def _codes(self) -> tuple[Tensor, QParams, Axis]:
        """Codes, and their grid as matrices that broadcast against them or have a column per group."""
        assert self.quantizer is not None and self.num_bits is not None
        if self.integers is not None:
            packed = self.integers.packed()
            first = self.quantizer.format.first_code(self.num_bits)
            codes, all_qparams = packed.unpacked().to(torch.int32) + first, packed.qparams()
        else:
            codes = self.quantizer.codes(self.value, self.num_bits)
            all_qparams = self.quantizer.qparams(self.value, self.num_bits)
        axis = Axis.of(self.quantizer)
        if self.quantizer.format.zero_points_per_range > 1:
            has_integer_zero(self.quantizer)  # says that it cannot be expressed
        scale, zero = (
            self._of_blocks(parts) if axis.block else parts[0]
            for parts in ([qparams.scale for qparams in all_qparams], [qparams.zero_point for qparams in all_qparams])
        )
        if axis.axis is None:
            scale, zero = scale.reshape(1, 1), zero.reshape(1, 1)
        return codes, QParams(scale, zero.expand_as(scale), *all_qparams[0][2:]), axis

    def _of_blocks(self, parts: Sequence[Tensor]) -> Tensor:
        """The scales of each row's blocks side by side."""
        assert self.quantizer is not None
        rows, sizes = self.value.shape[0], self.quantizer.granularity.sizes
        if sizes is None:
            return torch.cat([part.reshape(rows, -1) for part in parts], dim=1)
        bands: dict[int, list[Tensor]] = {}  # pieces (R / r, 1, C / c, 1), or of the last few rows (1, 1, C / c, 1)
        pieces = self.quantizer.pieces(torch.empty(self.value.shape, device="meta"))
        for part, piece in zip(parts, pieces, strict=True):
            bands.setdefault(piece.shape[1], []).append(part.flatten(1).repeat_interleave(piece.shape[1], dim=0))
        return torch.cat([torch.cat(found, dim=1) for found in bands.values()])

    def _write(
        self, graph: Graph, quantizer: Quantizer, codes: Tensor, qparams: QParams, axis: Axis, alone: bool
    ) -> str:
        assert self.num_bits is not None
        if axis.block is not None:
            graph.needs(f"{quantizer.path} with granularity {quantizer.granularity}")
        found = float_type(quantizer.format, self.num_bits)
        if found is not None:
            return self._write_floats(graph, quantizer, codes, qparams.scale, axis, *found)
        levels = whole_levels(quantizer, self.num_bits)
        if levels is not None:
            codes = levels[codes.long()]
            qparams = QParams(qparams.scale, torch.zeros_like(qparams.scale), int(levels[0]), int(levels[-1]))
        exact = levels is not None or has_integer_zero(quantizer)
        kind = CodeType(qparams.quant_min, qparams.quant_max, graph.least_bits)
        if kind.bits > 8:
            graph.needs(f"{quantizer.path} at more than 8 bits")
        if axis.block is not None and not exact:
            raise ConfigError(
                f"{quantizer.path}: a real zero point per group cannot be expressed in ONNX; a model can be "
                f"exported when trained with {{match: {quantizer.path!r}, format: affine_int}}"
            )
        # onnxruntime would round the other factor to 8 bits where such a weight goes straight into MatMul, and it takes
        # codes of 2 bits, and of 8 bits in blocks, for a product of integers that it cannot compute: half the scale,
        # and twice the values, are exact and keep it from doing so
        alone = exact and (alone or kind.bits == 2 or (axis.block is not None and kind.bits == 8))
        scale = graph.constant(f"{self.name}.scale", axis.shaped(qparams.scale / 2 if alone else qparams.scale))
        integers = qparams.zero_point if exact else torch.zeros_like(qparams.zero_point)
        zero = graph.codes(f"{self.name}.zero_point", axis.shaped(integers), kind)
        stored = graph.codes(self.name, codes, kind)
        y = graph.add("DequantizeLinear", stored, scale, zero, name=f"{self.name}.values", **axis.attributes())
        if not exact:
            return graph.add("Add", y, graph.constant(f"{self.name}.low", qparams.zero_point))
        return graph.add("Mul", y, graph.number(2.0)) if alone else y

    def _write_floats(
        self, graph: Graph, quantizer: Quantizer, codes: Tensor, scale: Tensor, axis: Axis, kind: FloatType,
        factor: float,
    ) -> str:  # fmt: skip
        check_type(graph, quantizer, kind)
        stored = graph.raw(self.name, kind.patterns(codes).cpu().numpy(), kind.name, kind.bits)
        # onnxruntime takes DequantizeLinear on both sides of a MatMul for a product of integers, and then fails
        half = graph.constant(f"{self.name}.scale", axis.shaped(scale * (factor / 2)))
        y = graph.add("DequantizeLinear", stored, half, name=f"{self.name}.values", **axis.attributes())
        return graph.add("Mul", y, graph.number(2.0))
