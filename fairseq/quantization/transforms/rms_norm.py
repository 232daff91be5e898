"""Activations divided by their root mean square, in the layer itself: the norm inside BitNet's linear layers.

    x^ = x / sqrt(mean x^2 + 1e-6)         over the last axis

What is rounded, and multiplied, is x^; gradients pass through the norm. BitNet b1.58, arXiv:2402.17764, and the
training notes that its authors published with it, in which every linear layer begins with a norm of its own.

>>> import torch
>>> RMSNorm([], "x").apply(torch.tensor([[3.0, -3.0]]), seed=0).round(decimals=4)
tensor([[ 1., -1.]])
"""

from typing import ClassVar

from torch import Tensor

from fairseq.quantization.transforms.base import TRANSFORMS, Transform

EPSILON = 1e-6


@TRANSFORMS.register("rms_norm")
class RMSNorm(Transform):
    """Root mean square 1 over the last axis."""

    is_rotation: ClassVar[bool] = False
    roles: ClassVar[tuple[str, ...]] = ("activation",)

    def apply(self, x: Tensor, seed: int) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
