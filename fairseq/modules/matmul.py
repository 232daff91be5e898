"""A matrix product of two activations, as a module: something that has a path, can be hooked and can be replaced.

Attention owns two of them, QK^T and PV; the quantized route puts its own module in their place.

>>> MatMul()(torch.ones(1, 2, 3), torch.ones(1, 3, 2)).sum()
tensor(12.)
"""

import torch
from torch import Tensor, nn


class MatMul(nn.Module):
    """`a @ b` for batches of matrices: (N, T, K), (N, K, S) -> (N, T, S)."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.bmm(a, b)


def is_plain(module: nn.Module) -> bool:
    """True if calling `module` is nothing but a matrix product, so that a fused kernel may do its work unseen."""
    return type(module) is MatMul and not (
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
