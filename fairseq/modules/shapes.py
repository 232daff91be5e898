"""Small modules around convolutions, as plugins stack them.

>>> import torch
>>> x = torch.zeros(2, 3, 5)                   # (B, C, T)
>>> TransposeLast()(x).shape, SamePad(4)(x).shape, Fp32GroupNorm(3, 3)(x.half()).dtype
(torch.Size([2, 5, 3]), torch.Size([2, 3, 4]), torch.float16)
"""

from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn


class TransposeLast(nn.Module):
    """Swaps the last two dimensions, of the element `deconstruct_idx` where the input is a tuple."""

    def __init__(self, deconstruct_idx: Optional[int] = None, tranpose_dim: int = -2):
        super().__init__()
        self.deconstruct_idx = deconstruct_idx
        self.tranpose_dim = tranpose_dim  # spelt so in fairseq

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.deconstruct_idx is None else x[self.deconstruct_idx]
        return x.transpose(self.tranpose_dim, -1)


class SamePad(nn.Module):
    """Cuts what a convolution with padding `kernel_size // 2` has too much: one step, or all of `causal` padding."""

    def __init__(self, kernel_size: int, causal: bool = False):
        super().__init__()
        self.remove = kernel_size - 1 if causal else 1 - kernel_size % 2

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : x.size(2) - self.remove] if self.remove > 0 else x


class Fp32GroupNorm(nn.GroupNorm):
    """GroupNorm computed in fp32 whatever the input's type; the result has the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return F.group_norm(input.float(), self.num_groups, weight, bias, self.eps).type_as(input)
