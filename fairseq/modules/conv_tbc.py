"""Convolution over time of inputs whose dimensions are time, batch, channels.

>>> import torch
>>> ConvTBC(3, 4, kernel_size=2, padding=1)(torch.zeros(5, 2, 3)).shape
torch.Size([6, 2, 4])
"""

from typing import Any

import torch
from torch import Tensor, nn


class ConvTBC(nn.Module):
    """(T, B, in_channels) to (T + 2 padding - kernel_size + 1, B, out_channels); weights are (K, in, out)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, padding: Any = 0):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,)
        self.padding = padding if isinstance(padding, tuple) else (padding,)
        self.weight = nn.Parameter(torch.empty(self.kernel_size[0], in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_normal_(self.weight)
        nn.init.zeros_(self.bias)

    def conv_tbc(self, input: Tensor) -> Tensor:
        return torch.conv_tbc(input.contiguous(), self.weight, self.bias, self.padding[0])

    def forward(self, input: Tensor) -> Tensor:
        return self.conv_tbc(input)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, padding={self.padding}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
