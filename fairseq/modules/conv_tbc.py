"""Convolution over time of inputs whose dimensions are time, batch, channels.

    y[t] = sum_k x[t + k - padding] W[k] + b          W (K, in, out)

Behind quantizers, those of a Linear at its path, it is a linear layer on windows (T', B, K * in).

>>> import torch
>>> ConvTBC(3, 4, kernel_size=2, padding=1)(torch.zeros(5, 2, 3)).shape
torch.Size([6, 2, 4])
"""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvTBC(nn.Module):
    """(T, B, in_channels) to (T + 2 padding - kernel_size + 1, B, out_channels); weights are (K, in, out)."""

    quantizers: Optional[nn.Module]

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, padding: Any = 0):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,)
        self.padding = padding if isinstance(padding, tuple) else (padding,)
        self.weight = nn.Parameter(torch.empty(self.kernel_size[0], in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.quantizers = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_normal_(self.weight)
        nn.init.zeros_(self.bias)

    def conv_tbc(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """The convolution over all steps."""
        if self.quantizers is None:
            return torch.conv_tbc(input.contiguous(), self.weight, self.bias, self.padding[0])
        kernel, padding = self.kernel_size[0], self.padding[0]
        windows = F.pad(input, (0, 0, 0, 0, padding, padding)).unfold(0, kernel, 1)  # (T', B, in, K)
        return self.product(windows.transpose(2, 3).flatten(2), num_bits)

    def product(self, windows: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """What the kernel makes of windows (..., K * in) -> (..., out)."""
        matrix = self.weight.flatten(0, 1).t()  # (K, in, out) -> (out, K*in)
        if self.quantizers is None:
            return F.linear(windows, matrix, self.bias)
        return self.quantizers(windows, matrix, self.bias, num_bits)  # type: ignore[no-any-return]

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        return self.conv_tbc(input, num_bits)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, padding={self.padding}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
