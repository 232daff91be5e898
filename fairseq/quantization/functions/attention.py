"""`F.scaled_dot_product_attention` step by step, with both products quantized.

    probs = softmax(scale Q(query) Q(key)^T + mask),   y = Q(Q(probs) Q(value))

with quantizers `<path>.query`, `.key`, `.probs`, `.value`, `.output`, `<path>.qk_matmul.grad_output` and
`<path>.pv_matmul.grad_output`. torch's fused kernels show these tensors to nobody; where no quantizer is on at the bits
of a call, they are used. Memory is that of the scores, (..., L, S).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.quantization.functions.base import (
    FunctionProduct,
    QuantizedFunction,
    Shapes,
    bound,
    register_function,
    why_not_numbers,
)
from fairseq.quantization.functions.products import multiply
from fairseq.quantization.layers.torch_attention import PRODUCTS
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.products.simulated import notify_full_precision
from fairseq.quantization.spec import QuantizerSpec

NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@register_function("scaled_dot_product_attention")
class QuantizedAttentionFunction(QuantizedFunction):
    """One attention: two products and what lies between them."""

    def build(self, specs: Mapping[Any, QuantizerSpec], calibration_bits: int, shapes: Shapes) -> None:
        for part, product in PRODUCTS.items():
            name = f"{self.path}.{part}"
            own = {key: spec for (owner, key), spec in specs.items() if owner == part}
            self.add_module(part, MatMulQuantizers(name, product.paths(name), own, self.context, calibration_bits))

    @classmethod
    def quantizer_paths(cls, path: str, shapes: Shapes) -> dict[Any, tuple[str, str]]:
        paths = {part: product.paths(f"{path}.{part}") for part, product in PRODUCTS.items()}
        return {(part, key): found for part, own in paths.items() for key, found in own.items()}

    @classmethod
    def products(cls, path: str) -> list[FunctionProduct]:
        return [
            FunctionProduct(name, *(product.paths(name)[key][0] for key in ("left", "right", "grad_output")))
            for name, product in ((f"{path}.{part}", product) for part, product in PRODUCTS.items())
        ]

    @classmethod
    def product(cls, path: str, key: Any) -> Optional[str]:
        return f"{path}.{key[0]}"

    @classmethod
    def obstacle(cls, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[str]:
        given = bound(NAMES, args, kwargs)
        return why_not_numbers(*(given.get(name) for name in NAMES[:3]))

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = bound(NAMES, args, kwargs)
        query, key, value = (given[name] for name in NAMES[:3])
        mask, is_causal = given.get("attn_mask"), given.get("is_causal", False)
        qk, pv = (self._modules[part] for part in PRODUCTS)
        assert isinstance(qk, MatMulQuantizers) and isinstance(pv, MatMulQuantizers)
        bits = [product.bits_at(self.context.resolve(None)) for product in (qk, pv)]
        both_off = all(each.full_precision and each.result is None for each in bits)
        if both_off or (is_causal and mask is not None):  # which torch refuses in its own words
            self._notify(query, key, value)
            return function(*args, **kwargs)
        if given.get("enable_gqa", False):
            key, value = (_for_each_head(x, query.shape[-3]) for x in (key, value))
        scale = given.get("scale")
        scores = multiply(qk, query, key.mT) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        probs = masked_softmax(scores, mask, is_causal).to(value.dtype)  # (..., L, S)
        probs = F.dropout(probs, given.get("dropout_p", 0.0))
        return multiply(pv, probs, value)

    def _notify(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Tell costs of products in full precision."""
        pairs = query.numel() * key.shape[-2]  # of a query's number with a key
        for part, x, y, macs in (
            ("qk_matmul", query, key, pairs),
            ("pv_matmul", query, value, pairs // query.shape[-1] * value.shape[-1]),
        ):
            notify_full_precision(self.context.callbacks, f"{self.path}.{part}", x, y, macs)


def _for_each_head(x: Tensor, heads: int) -> Tensor:
    """Keys or values (..., G, S, D) of groups of heads, for each of `heads`."""
    return x.repeat_interleave(heads // x.shape[-3], dim=-3)


def masked_softmax(scores: Tensor, mask: Optional[Tensor], is_causal: bool) -> Tensor:
    """Probabilities of `scores` (..., L, S); a row that a mask hides in whole is 0, as in torch.

    Args:
        mask: boolean, True where a query sees a key, or numbers to add.
        is_causal: query i sees keys 0 to i.
    """
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores.softmax(-1)
    scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    hidden = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(hidden, 0.0).softmax(-1).masked_fill(hidden, 0.0)
