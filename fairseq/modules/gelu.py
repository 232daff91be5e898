"""GELU (Hendrycks & Gimpel, arXiv:1606.08415) under the names that plugins import.

>>> import torch
>>> gelu(torch.zeros(1)), gelu_accurate(torch.zeros(1))
(tensor([0.]), tensor([0.]))
"""

from torch import Tensor

from fairseq.modules.activations import gelu_accurate
from fairseq.native import gelu as kernel

__all__ = ["gelu", "gelu_accurate"]


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), in fp32 whatever the input's type."""
    return kernel.gelu(x.float()).type_as(x)
