"""`QMultiheadAttention`: torch's nn.MultiheadAttention with all six matrix products quantized.

torch hands its projection weights to a fused function, where no quantizer would see them. This subclass has the same
parameters, state-dict keys, arguments and results and does the steps one by one. Quantizer paths are those of
fairseq's attention: `<path>.q_proj.weight`, `.q_proj.input`, ..., `<path>.query`, `.key`, `.probs`, `.value`,
`.output`.
"""

import math
from collections.abc import Mapping
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.matmul import MatMul
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.products.weighted import NAMED_ROLES, PRODUCT_ROLES
from fairseq.quantization.spec import QuantizerSpec

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
PRODUCTS = {"qk_matmul": MatMul("query", "key"), "pv_matmul": MatMul("probs", "value", "output")}


def quantizer_paths(path: str, has_bias: bool = True) -> dict[tuple[str, str], tuple[str, str]]:
    """(part, key) -> (quantizer path, role) for attention at `path`."""
    prefix = f"{path}." if path else ""
    roles = {key: role for key, role in {**PRODUCT_ROLES, **NAMED_ROLES}.items() if has_bias or key != "bias"}
    found = {(part, key): (f"{prefix}{part}.{key}", role) for part in PROJECTIONS for key, role in roles.items()}
    for part, product in PRODUCTS.items():
        found.update({(part, key): value for key, value in product.paths(prefix + part).items()})
    return found


class AttentionQuantizers(nn.Module):
    """The quantizers of all six products."""

    def __init__(
        self,
        path: str,
        attention: nn.MultiheadAttention,
        specs: Mapping[tuple[str, str], QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        super().__init__()
        prefix = f"{path}." if path else ""
        weights = dict(zip(PROJECTIONS, (*projection_weights(attention), attention.out_proj.weight), strict=True))
        for part in (*PROJECTIONS, *PRODUCTS):
            own = {key: spec for (owner, key), spec in specs.items() if owner == part}
            if part in PRODUCTS:
                paths = PRODUCTS[part].paths(prefix + part)
                self.add_module(part, MatMulQuantizers(prefix + part, paths, own, context, calibration_bits))
            else:
                self.add_module(part, LinearQuantizers(prefix + part, weights[part], own, context, calibration_bits))

    def part(self, name: str) -> Any:
        """One product."""
        return self._modules[name]


def by_head(x: Tensor, num_heads: int) -> Tensor:
    """(N*H, T, S) -> (N, H, T, S)."""
    return x.view(x.shape[0] // num_heads, num_heads, *x.shape[1:])


def projection_weights(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of query, key and value projection, each (embed_dim, in)."""
    if attention.in_proj_weight is not None:
        q, k, v = attention.in_proj_weight.chunk(3)
        return q, k, v
    return attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight


class QMultiheadAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention that takes `num_bits`; made by `quantize_model` from an existing module."""

    quantizers: Optional[AttentionQuantizers]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Optional[Tensor] = None,
        need_weights: bool = True,
        attn_mask: Optional[Tensor] = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """As nn.MultiheadAttention.forward; `is_causal` is a hint there and changes nothing here."""
        if self.quantizers is None:  # they have been removed
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        if query.is_nested or key.is_nested or value.is_nested:
            raise ConfigError("quantized attention takes no nested tensors; pass padded ones with key_padding_mask")
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(1) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))  # (T, N, E)

        q, k, v = self._project(query, key, value, num_bits)
        mask = self._mask(attn_mask, key_padding_mask, q)
        extra = k.shape[1] - key.shape[0]  # keys that bias_k and add_zero_attn put behind the real ones
        if mask is not None and extra:
            mask = F.pad(mask, (0, extra))
        scores = self.quantizers.part("qk_matmul")(q / math.sqrt(self.head_dim), k.transpose(1, 2), num_bits)
        scores = scores if mask is None else (by_head(scores, self.num_heads) + mask).flatten(0, 1)
        probs = F.dropout(scores.softmax(-1), self.dropout, self.training)  # (N*H, T, S)
        context = self.quantizers.part("pv_matmul")(probs, v, num_bits)
        length, batch = query.shape[:2]
        context = context.transpose(0, 1).reshape(length, batch, self.embed_dim)  # (N*H, T, D) -> (T, N, E)
        y = self.quantizers.part("out_proj")(context, self.out_proj.weight, self.out_proj.bias, num_bits)

        weights = by_head(probs, self.num_heads) if need_weights else None  # (N, H, T, S)
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return y.squeeze(1), None if weights is None else weights.squeeze(0)
        return y.transpose(0, 1) if self.batch_first else y, weights

    def _project(
        self, query: Tensor, key: Tensor, value: Tensor, num_bits: Optional[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, (N*H, T or S, D) each."""
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        weights = projection_weights(self)
        quantizers = self.quantizers
        assert quantizers is not None
        q, k, v = (
            quantizers.part(part)(x, weight, bias, num_bits)
            for part, x, weight, bias in zip(PROJECTIONS[:3], (query, key, value), weights, biases, strict=True)
        )
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (torch.cat([x, b.expand(1, x.shape[1], -1)]) for x, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = (torch.cat([x, x.new_zeros(1, *x.shape[1:])]) for x in (k, v))
        q, k, v = (x.reshape(x.shape[0], -1, self.head_dim).transpose(0, 1) for x in (q, k, v))
        return q, k, v

    def _mask(self, attn_mask: Optional[Tensor], padding: Optional[Tensor], q: Tensor) -> Optional[Tensor]:
        """Both masks as numbers to add to scores (N, H, T, S), or None."""

        def numbers(mask: Tensor) -> Tensor:
            if mask.dtype != torch.bool:
                return mask.to(q.dtype)
            return torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask, -math.inf)

        total: Optional[Tensor] = None
        if attn_mask is not None:
            total = numbers(attn_mask)
            if total.dim() == 3:  # (N*H, T, S)
                total = by_head(total, self.num_heads)
        if padding is not None:
            padded = numbers(padding)[:, None, None, :]  # (N, 1, 1, S)
            total = padded if total is None else total + padded
        return total
