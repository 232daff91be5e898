"""Sinusoidal encodings of positions, absolute and relative (Dai et al., arXiv:1901.02860), as encoders of speech use.

pe[t, 2i] = sin(t / 10000^(2i / d)),   pe[t, 2i + 1] = cos(t / 10000^(2i / d))
"""

import math
from typing import Optional

import torch
from torch import Tensor, nn


def _sinusoids(positions: Tensor, width: int) -> Tensor:
    """(T,) -> (T, width)."""
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(10000.0) / width))
    angles = positions.float()[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


class PositionalEncoding(nn.Module):
    """x * sqrt(d_model) + pe, with dropout; `reverse` counts from the end."""

    def __init__(self, d_model: int, dropout_rate: float, max_len: int = 5000, reverse: bool = False):
        super().__init__()
        self.d_model, self.reverse = d_model, reverse
        self.xscale = math.sqrt(d_model)
        self.dropout = nn.Dropout(p=dropout_rate)
        self.pe: Optional[Tensor] = None
        self.extend_pe(torch.zeros(1, max_len))

    def extend_pe(self, x: Tensor) -> None:
        """Make the table long enough for `x` (B, T, ...)."""
        if self.pe is None or self.pe.size(1) < x.size(1):
            positions = torch.arange(x.size(1))
            table = _sinusoids(positions.flip(0) if self.reverse else positions, self.d_model)
            self.pe = table.unsqueeze(0)
        if self.pe.dtype != x.dtype or self.pe.device != x.device:
            self.pe = self.pe.to(x)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, T, d_model)."""
        self.extend_pe(x)
        assert self.pe is not None
        return self.dropout(x * self.xscale + self.pe[:, : x.size(1)])


class RelPositionalEncoding(nn.Module):
    """Encodings of the distances T - 1, ..., -(T - 1), (2T - 1, 1, d_model), for inputs (T, B, d_model)."""

    def __init__(self, max_len: int, d_model: int):
        super().__init__()
        self.d_model = d_model
        self.pe: Optional[Tensor] = None
        self.extend_pe(torch.zeros(1, max_len))

    def extend_pe(self, x: Tensor) -> None:
        """Make the table long enough for `x` (B, T, ...)."""
        length = x.size(1)
        if self.pe is None or self.pe.size(1) < 2 * length - 1:
            self.pe = _sinusoids(torch.arange(length - 1, -length, -1), self.d_model).unsqueeze(0)
        if self.pe.dtype != x.dtype or self.pe.device != x.device:
            self.pe = self.pe.to(x)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        self.extend_pe(x)
        assert self.pe is not None
        middle, length = self.pe.size(1) // 2, x.size(1)
        return self.pe[:, middle - length + 1 : middle + length].transpose(0, 1)
