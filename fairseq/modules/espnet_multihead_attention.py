"""Attention over (T, B, C) with relative or rotary positions, as Conformer encoders have it (Gulati et al.,
arXiv:2005.08100).

Calls return `(output, None)`, output (T, B, C), as other attention does that is asked for no weights; those of the last
call are `attn` (B, H, T1, T2).
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.modules.rotary_positional_embedding import RotaryPositionalEmbedding, apply_rotary_pos_emb


class ESPNETMultiHeadedAttention(nn.Module):
    """softmax(q k' / sqrt(d_k)) v.

    Args:
        n_feat: width.
        n_head: heads, which divide it.
        dropout: of attention probabilities.
    """

    def __init__(self, n_feat: int, n_head: int, dropout: float):
        super().__init__()
        assert n_feat % n_head == 0, f"{n_head} heads do not divide {n_feat}"
        self.d_k, self.h = n_feat // n_head, n_head
        self.linear_q = nn.Linear(n_feat, n_feat)
        self.linear_k = nn.Linear(n_feat, n_feat)
        self.linear_v = nn.Linear(n_feat, n_feat)
        self.linear_out = nn.Linear(n_feat, n_feat)
        self.attn: Optional[Tensor] = None
        self.dropout = nn.Dropout(p=dropout)

    def forward_qkv(self, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) -> (B, H, T, d_k), three times."""
        projections = ((self.linear_q, query), (self.linear_k, key), (self.linear_v, value))
        return tuple(self._heads(linear(x)) for linear, x in projections)  # type: ignore[return-value]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1, self.h, self.d_k).transpose(1, 2)  # (B, T, C) -> (B, H, T, d_k)

    def forward_attention(self, value: Tensor, scores: Tensor, mask: Optional[Tensor]) -> Tensor:
        """Weighted values (B, T1, C), from scores (B, H, T1, T2).

        Args:
            mask: (B, T2), True where a key is padding.
        """
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(1).unsqueeze(2).to(bool), float("-inf"))  # type: ignore[call-overload]
        self.attn = scores.softmax(-1)
        values = self.dropout(self.attn) @ value  # (B, H, T1, d_k)
        return self.linear_out(values.transpose(1, 2).flatten(2))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Optional[Tensor] = None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        q, k, v = self.forward_qkv(*(x.transpose(0, 1) for x in (query, key, value)))
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.d_k)
        return self.forward_attention(v, scores, key_padding_mask).transpose(0, 1), None


class RelPositionMultiHeadedAttention(ESPNETMultiHeadedAttention):
    """Transformer-XL's relative positions: ((q + u) k' + shift((q + v) p')) / sqrt(d_k).

    Args:
        zero_triu: no position scores for later keys.
    """

    def __init__(self, n_feat: int, n_head: int, dropout: float, zero_triu: bool = False):
        super().__init__(n_feat, n_head, dropout)
        self.zero_triu = zero_triu
        self.linear_pos = nn.Linear(n_feat, n_feat, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(self.h, self.d_k))
        self.pos_bias_v = nn.Parameter(torch.zeros(self.h, self.d_k))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def rel_shift(self, x: Tensor) -> Tensor:
        """Scores by distance (B, H, T, 2T - 1) as scores by position (B, H, T, T)."""
        steps = x.size(-1)
        shifted = torch.cat([x.new_zeros(*x.shape[:3], 1), x], -1).view(*x.shape[:2], steps + 1, x.size(2))
        result = shifted[:, :, 1:].view_as(x)[..., : steps // 2 + 1]
        return result.tril(result.size(3) - result.size(2)) if self.zero_triu else result

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        pos_emb: Tensor,
        key_padding_mask: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """`pos_emb` (2T - 1, 1, C): see `RelPositionalEncoding`."""
        q, k, v = self.forward_qkv(*(x.transpose(0, 1) for x in (query, key, value)))
        q = q.transpose(1, 2)  # (B, T, H, d_k)
        p = self._heads(self.linear_pos(pos_emb.transpose(0, 1)))
        by_content = (q + self.pos_bias_u).transpose(1, 2) @ k.transpose(-2, -1)
        by_position = self.rel_shift((q + self.pos_bias_v).transpose(1, 2) @ p.transpose(-2, -1))
        scores = (by_content + by_position) / math.sqrt(self.d_k)
        return self.forward_attention(v, scores, key_padding_mask).transpose(0, 1), None


class RotaryPositionMultiHeadedAttention(ESPNETMultiHeadedAttention):
    """Rotary positions; `rotary_emd_base` is spelt so in fairseq."""

    def __init__(self, n_feat: int, n_head: int, dropout: float, precision: Any, rotary_emd_base: int = 10000):
        super().__init__(n_feat, n_head, dropout)
        if precision == "fp16":
            precision = torch.half
        self.rotary_ndims = self.d_k
        self.rotary_emb = RotaryPositionalEmbedding(self.rotary_ndims, base=rotary_emd_base, precision=precision)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Optional[Tensor] = None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        steps, sentences, width = value.shape
        query, key, value = (x.view(-1, sentences, self.h, self.d_k) for x in (query, key, value))
        cos, sin = self.rotary_emb(value, seq_len=steps)
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        query, key, value = (x.reshape(-1, sentences, width) for x in (query, key, value))
        return super().forward(query, key, value, key_padding_mask)
