"""`QEmbedding` and `QEmbeddingBag`: rows of a quantized table, quantizer `<path>.weight`, and what comes out, quantizer
`<path>.output`, where a rule names it.

    y = Q(Q(table)[indices])            of a bag: Q of the sum, the mean or the largest of its rows

With one range per row or per group of a row only the rows that are looked up are quantized; with one range for the
table, or per column, the range is the table's. The gradient of the table is that of torch's layer (straight-through):
rows are looked up, not multiplied, so there is no quantizer of a gradient.

>>> import torch
>>> table = QEmbedding(10, 4)
>>> table(torch.tensor([[1, 2]]), num_bits=4).shape, list(table.state_dict())
(torch.Size([1, 2, 4]), ['weight'])
>>> bags = QEmbeddingBag(10, 4)
>>> bags(torch.tensor([1, 2, 4, 5]), torch.tensor([0, 3])).shape, list(bags.state_dict())
(torch.Size([2, 4]), ['weight'])
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, Quantizer, one_line_repr
from fairseq.quantization.spec import QuantizerSpec

TABLE_ROLES = {"weight": WEIGHT, "output": ACTIVATION}


class TableQuantizers(nn.Module):
    """The quantizers of an embedding.

    Args:
        path: the layer's path.
        weight: its table (R, C); only its shape is looked at.
        specs: settings for "weight", and for "output" where there is one.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        weight: Tensor,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        super().__init__()
        self.path, self.context = path, context
        shapes: dict[str, dict[str, Any]] = {
            "weight": {"shape": tuple(weight.shape)},
            "output": {"features": weight.shape[1]},
        }
        for key, spec in specs.items():
            if key == "weight" or (spec.quantize and spec.bits is not None):
                name = f"{path}.{key}".lstrip(".")
                self.add_module(key, Quantizer(
                    name, TABLE_ROLES[key], spec, context, calibration_bits=calibration_bits, **shapes[key]
                ))  # fmt: skip
        self.integers: Optional[QuantizedWeight] = None  # in place of the table, see products/integer_weight.py

    def __repr__(self) -> str:
        return one_line_repr(self)

    def quantizer(self, name: str) -> Quantizer:
        """One of them."""
        return self._modules[name]  # type: ignore[return-value]

    def layer_call(self, num_bits: Optional[int], training: bool) -> tuple[Optional[int], Optional[int]]:
        """Bits of the table and of the output in a call with `num_bits`."""
        resolved = self.context.layer_call(num_bits, training)[0]
        bits = self.quantizer("weight").bits(resolved)
        if self.integers is not None:
            self.integers.check(self.quantizer("weight").path, bits, training)
        return bits, self.quantizer("output").bits(resolved) if "output" in self._modules else None

    @property
    def by_row(self) -> bool:
        """Whether a row's values depend on that row alone."""
        quantizer = self.quantizer("weight")
        kind, number = quantizer.granularity.kind, quantizer.granularity.number
        if quantizer.format.sees_whole:
            return False
        return quantizer.learned is None and (kind in ("token", "group") or (kind == "channel" and number == 0))

    def rounded_rows(self, rows: Tensor, num_bits: int) -> Tensor:
        """`rows` (..., C) of the table, rounded; where they are rounded `by_row`."""
        flat = rows.reshape(-1, rows.shape[-1])  # the quantizer's channels are rows of a matrix
        return self.quantizer("weight")(flat, num_bits).tensor().view(rows.shape)  # type: ignore[no-any-return]

    def decoded_rows(self, indices: Tensor) -> Tensor:
        """Rows `indices` (...) of the codes -> (..., C)."""
        assert self.integers is not None
        packed, flat = self.integers.packed(), indices.reshape(-1)
        in_blocks = self.quantizer("weight").granularity.kind == "block"  # of several rows
        rows = packed.values()[flat] if in_blocks else packed.rows(flat).values()
        return rows.view(*indices.shape, packed.columns).to(self.integers.dtype)

    def rounded_output(self, y: Tensor, num_bits: Optional[int]) -> Tensor:
        """What comes out, behind its quantizer, if it has one."""
        return y if num_bits is None else self.quantizer("output").result(y, num_bits)


class QEmbedding(nn.Embedding):
    """nn.Embedding that takes `num_bits`. Arguments are nn.Embedding's; `spec`: settings of the table's quantizer."""

    quantizers: Optional[TableQuantizers]

    def __init__(self, *args: Any, spec: Optional[QuantizerSpec] = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        specs = {"weight": spec or reference_spec(WEIGHT)}
        self.quantizers = TableQuantizers("", self.weight, specs, QuantizationContext())

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Rows `input` (...) of the table -> (..., embedding_dim)."""
        quantizers = self.quantizers
        if quantizers is None:
            return self._rows(input, self.weight)
        bits, output_bits = quantizers.layer_call(num_bits, self.training)
        if quantizers.integers is not None:
            y = quantizers.decoded_rows(input)
        elif bits is None:
            y = self._rows(input, self.weight)
        elif quantizers.by_row:
            y = quantizers.rounded_rows(self._rows(input, self.weight), bits)
        else:
            y = self._rows(input, quantizers.quantizer("weight")(self.weight, bits).tensor())
        return quantizers.rounded_output(y, output_bits)

    def _rows(self, input: Tensor, table: Tensor) -> Tensor:
        return F.embedding(
            input, table, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )


class QEmbeddingBag(nn.EmbeddingBag):
    """nn.EmbeddingBag that takes `num_bits`; arguments are nn.EmbeddingBag's. `quantize_model` gives it quantizers."""

    quantizers: Optional[TableQuantizers]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = None

    def forward(
        self,
        input: Tensor,
        offsets: Optional[Tensor] = None,
        per_sample_weights: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> Tensor:
        """Bags of rows, `input` (B, N), or (N,) of which each bag begins at one of `offsets` -> (B, embedding_dim)."""
        quantizers = self.quantizers
        if quantizers is None:
            return super().forward(input, offsets, per_sample_weights)
        bits, output_bits = quantizers.layer_call(num_bits, self.training)
        if quantizers.integers is not None:
            y = self._bags_of_rows(input, offsets, per_sample_weights, quantizers.decoded_rows)
        elif bits is None:
            y = super().forward(input, offsets, per_sample_weights)
        else:
            if self.max_norm is not None:  # torch's layer shortens the rows of the table itself, before it reads them
                with torch.no_grad():
                    torch.embedding_renorm_(self.weight, input.reshape(-1), self.max_norm, self.norm_type)
            if quantizers.by_row and input.numel() < self.num_embeddings:
                rows = functools.partial(self._rounded_rows, num_bits=bits)
                y = self._bags_of_rows(input, offsets, per_sample_weights, rows)
            else:
                table = quantizers.quantizer("weight")(self.weight, bits).tensor()
                y = self._bags(input, table, offsets, per_sample_weights)
        return quantizers.rounded_output(y, output_bits)

    def _rounded_rows(self, indices: Tensor, num_bits: int) -> Tensor:
        assert self.quantizers is not None
        rows = F.embedding(indices, self.weight, scale_grad_by_freq=self.scale_grad_by_freq, sparse=self.sparse)
        return self.quantizers.rounded_rows(rows, num_bits)

    def _bags_of_rows(
        self,
        input: Tensor,
        offsets: Optional[Tensor],
        per_sample_weights: Optional[Tensor],
        rows_at: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The bags, from a table of their rows alone: `rows_at` gives those at indices (n,)."""
        indices, padding = input.reshape(-1), None
        places = torch.arange(indices.numel(), device=input.device, dtype=input.dtype)
        if self.padding_idx is not None:  # a first row stands for it
            padding = 0
            places = (places + 1).masked_fill(indices == self.padding_idx, padding)
            indices = F.pad(indices, (1, 0), value=self.padding_idx)
        return F.embedding_bag(
            places.view(input.shape), rows_at(indices), offsets, mode=self.mode, padding_idx=padding,
            per_sample_weights=per_sample_weights, include_last_offset=self.include_last_offset,
        )  # fmt: skip

    def _bags(
        self, input: Tensor, table: Tensor, offsets: Optional[Tensor], per_sample_weights: Optional[Tensor]
    ) -> Tensor:
        return F.embedding_bag(
            input, table, offsets, None, 2.0, self.scale_grad_by_freq, self.mode, self.sparse, per_sample_weights,
            self.include_last_offset, self.padding_idx,
        )  # fmt: skip
