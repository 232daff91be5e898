"""Cuts off what convolutions with padding on both sides have too much.

>>> import torch
>>> SamePad(4)(torch.zeros(2, 3, 5)).shape, SamePad2d(4)(torch.zeros(2, 3, 5, 7)).shape
(torch.Size([2, 3, 4]), torch.Size([2, 3, 4, 6]))
"""

from torch import Tensor, nn


class SamePad(nn.Module):
    """Cuts what a convolution with padding `kernel_size // 2` has too much: one step, or all of `causal` padding."""

    def __init__(self, kernel_size: int, causal: bool = False):
        super().__init__()
        self.remove = kernel_size - 1 if causal else 1 - kernel_size % 2

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : x.size(2) - self.remove] if self.remove > 0 else x


class SamePad2d(nn.Module):
    """The same in the last two dimensions of (B, C, H, W): one row and one column after an even kernel."""

    def __init__(self, kernel_size: int):
        super().__init__()
        self.remove = 1 - kernel_size % 2

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 4, f"expected (B, C, H, W), not {tuple(x.shape)}"
        return x[:, :, : x.size(2) - self.remove, : x.size(3) - self.remove]
