"""`QEmbedding`: rows of a quantized table, quantizer `<path>.weight`.

    y = Q(table)[indices]

With one range per row or per group of a row only the rows that are looked up are quantized; with one range for the
table, or per column, the range is the table's. The gradient of the table is that of nn.Embedding (straight-through).

>>> import torch
>>> table = QEmbedding(10, 4)
>>> table(torch.tensor([[1, 2]]), num_bits=4).shape, list(table.state_dict())
(torch.Size([1, 2, 4]), ['weight'])
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.quantizer import WEIGHT, Quantizer, one_line_repr
from fairseq.quantization.spec import QuantizerSpec


class TableQuantizer(nn.Module):
    """The quantizer of an embedding's table."""

    def __init__(
        self, path: str, weight: Tensor, spec: QuantizerSpec, context: QuantizationContext, calibration_bits: int = 8
    ):
        super().__init__()
        self.context = context
        name = f"{path}.weight".lstrip(".")
        self.weight = Quantizer(
            name, WEIGHT, spec, context, shape=tuple(weight.shape), calibration_bits=calibration_bits
        )
        self.integers: Optional[QuantizedWeight] = None  # in place of the table, see products/integer_weight.py

    def __repr__(self) -> str:
        return one_line_repr(self)

    @property
    def by_row(self) -> bool:
        """Whether a row's values depend on that row alone."""
        kind, number = self.weight.granularity.kind, self.weight.granularity.number
        return self.weight.learned is None and (kind in ("token", "group") or (kind == "channel" and number == 0))


class QEmbedding(nn.Embedding):
    """nn.Embedding that takes `num_bits`. Arguments are nn.Embedding's; `spec`: settings of the table's quantizer."""

    quantizers: Optional[TableQuantizer]

    def __init__(self, *args: Any, spec: Optional[QuantizerSpec] = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = TableQuantizer("", self.weight, spec or reference_spec(WEIGHT), QuantizationContext())

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Rows `input` (...) of the table -> (..., embedding_dim)."""
        if self.quantizers is None:
            return self._rows(input, self.weight)
        quantizer = self.quantizers.weight
        bits = quantizer.bits(self.quantizers.context.layer_call(num_bits, self.training)[0])
        integers = self.quantizers.integers
        if integers is not None:
            integers.check(quantizer.path, bits, self.training)
            packed, indices = integers.packed(), input.reshape(-1)
            in_blocks = quantizer.granularity.kind == "block"  # of several rows
            rows = packed.values()[indices] if in_blocks else packed.rows(indices).values()
            return rows.view(*input.shape, self.embedding_dim).to(integers.dtype)
        if bits is None:
            return self._rows(input, self.weight)
        if not self.quantizers.by_row:
            return self._rows(input, quantizer(self.weight, bits).tensor())
        rows = self._rows(input, self.weight)
        flat = rows.reshape(-1, self.embedding_dim)  # the quantizer's channels are rows of a matrix
        return quantizer(flat, bits).tensor().view(rows.shape)  # type: ignore[no-any-return]

    def _rows(self, input: Tensor, table: Tensor) -> Tensor:
        return F.embedding(
            input, table, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )
