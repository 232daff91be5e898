"""Scaled dot-product attention (Vaswani et al., arXiv:1706.03762, equation 1), head by head:

    scores = Q K^T,  probs = softmax(scores + mask),  context = dropout(probs) V      with Q scaled by 1/sqrt(D)

T: target length, S: source length, B: batch, H: heads, D: width of a head, C = H * D.

`MultiheadAttention` does these steps through two MatMul modules; `fused_attention` gives the same context in one kernel
and may replace the steps only if nothing observes them (no hooks, no tracing).

>>> split_heads(torch.zeros(5, 2, 8), num_heads=4).shape
torch.Size([8, 5, 2])
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native import minmax


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(T, B, C) -> (B*H, T, D), a view."""
    length, batch, width = x.shape
    return _same_numbers(x, x.reshape(length, batch * num_heads, width // num_heads).transpose(0, 1))


def merge_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B*H, T, D) -> (T, B, C)."""
    groups, length, width = x.shape
    return _same_numbers(x, x.transpose(0, 1).reshape(length, groups // num_heads, num_heads * width))


def _same_numbers(x: Tensor, y: Tensor) -> Tensor:
    """`y`, with the range of x where that is known."""
    min_max = minmax.cached_minmax(x)
    if min_max is not None:
        minmax.cache_minmax(y, *min_max)
    return y


def add_mask(scores: Tensor, mask: Optional[Tensor], num_heads: int) -> Tensor:
    """`scores` (B*H, T, S) plus `mask`, which broadcasts over (B, H, T, S)."""
    if mask is None:
        return scores
    return (scores.unflatten(0, (-1, num_heads)) + mask).flatten(0, 1)


def probabilities(scores: Tensor) -> Tensor:
    """Softmax over the keys, computed in fp32 at least, in the scores' type."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        return F.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
    return F.softmax(scores, dim=-1)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor], num_heads: int, dropout_p: float
) -> Tensor:
    """The context (B*H, T, D) from q (B*H, T, D), k and v (B*H, S, D) without keeping scores or probabilities."""
    q, k, v = (x.unflatten(0, (-1, num_heads)) for x in (q, k, v))  # (B, H, T or S, D)
    if mask is not None:
        mask = mask.expand(q.size(0), num_heads, q.size(2), k.size(2))
    return F.scaled_dot_product_attention(q, k, v, mask, dropout_p, scale=1.0).flatten(0, 1)
