"""Rotary position embeddings (Su et al., arXiv:2104.09864): queries and keys are turned by an angle that grows with
their position.

    q' = q * cos + rotate_half(q) * sin,      angle of position t and pair i:  t / base^(2i / dim)
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn


class RotaryPositionalEmbedding(nn.Module):
    """Cosines and sines for heads of width `dim`.

    Args:
        precision: their type.
    """

    inv_freq: Tensor

    def __init__(self, dim: int, base: int = 10000, precision: Any = torch.half):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (base ** (torch.arange(0, dim, 2).float() / dim)))
        self.precision = precision
        self.seq_len_cached = 0
        self.cos_cached: Optional[Tensor] = None
        self.sin_cached: Optional[Tensor] = None

    def forward(self, x: Tensor, seq_len: int = 0) -> tuple[Tensor, Tensor]:
        """Cosines and sines, both (T, 1, 1, dim); the longest so far are kept.

        Args:
            x: says where they lie and of which type they are.
            seq_len: T.
        """
        if seq_len > self.seq_len_cached or self.cos_cached is None or self.sin_cached is None:
            self.seq_len_cached = seq_len
            angles = torch.outer(torch.arange(seq_len, device=x.device).type_as(self.inv_freq), self.inv_freq)
            angles = torch.cat([angles, angles], -1).to(x.device)[:, None, None, :]
            self.cos_cached, self.sin_cached = angles.cos(), angles.sin()
        return self.cos_cached, self.sin_cached


def rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def apply_rotary_pos_emb(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
    """Queries and keys (T, B, H, dim), turned; positions begin at `offset`."""
    cos, sin = (table[offset : q.shape[0] + offset] for table in (cos, sin))
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
