"""Position numbers of tokens: padding_idx + 1, + 2, ... over the tokens that are not padding; padding keeps
padding_idx.

>>> make_positions(torch.tensor([[7, 8, 9], [7, 1, 1]]), padding_idx=1)
tensor([[2, 3, 4],
        [2, 1, 1]])
"""

import torch
from torch import Tensor


def make_positions(tensor: Tensor, padding_idx: int, onnx_trace: bool = False) -> Tensor:
    """Positions (B, T) of `tensor` (B, T), int64; padding may be left or right."""
    real = tensor.ne(padding_idx)
    return (torch.cumsum(real, dim=1) * real).add_(padding_idx)
