"""A matrix product of two activations, as a module: something that has a path, can be hooked and can be replaced.

Attention owns two of them, QK^T and PV; `quantize_model` puts a `QMatmul` in their place.

>>> MatMul()(torch.ones(1, 2, 3), torch.ones(1, 3, 2)).sum()
tensor(12.)
"""

import torch  # noqa: F401  (for the example above)
from torch import nn

from fairseq.quantization.layers.matmul import MatMul

__all__ = ["MatMul", "has_hooks", "is_plain"]


def is_plain(module: nn.Module) -> bool:
    """True if calling `module` is nothing but a matrix product, so that a fused kernel may do its work unseen."""
    return type(module) is MatMul and not has_hooks(module)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody wants to be called when `module` is."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
