"""A transposition as a module.

>>> import torch
>>> TransposeLast()(torch.zeros(2, 3, 5)).shape
torch.Size([2, 5, 3])
"""

from typing import Optional

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
