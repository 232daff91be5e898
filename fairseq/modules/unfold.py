"""Windows over time.

>>> import torch
>>> unfold1d(torch.arange(3.0).view(3, 1, 1), kernel_size=3, padding_l=2).flatten(1).tolist()
[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 2.0]]
"""

import torch.nn.functional as F
from torch import Tensor


def unfold1d(x: Tensor, kernel_size: int, padding_l: int, pad_value: float = 0) -> Tensor:
    """`x` (T, B, C) as windows (T, B, C, kernel_size), which begin `padding_l` steps before each step."""
    if kernel_size == 1:
        return x.unsqueeze(3)
    return F.pad(x, (0, 0, 0, 0, padding_l, kernel_size - 1 - padding_l), value=pad_value).unfold(0, kernel_size, 1)
