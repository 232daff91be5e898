"""Weights with mean 0 and deviation 1 per row: Libra parameter binarization.

    w^ = (w - mean w) / std w          over the last axis; std with n - 1, as torch has it

The signs of w^ are balanced, so that one bit of them says most. It is no rotation: what is rounded is w^, and its
values are the layer's weight. Gradients pass through mean and deviation.

Qin et al., IR-Net, arXiv:1909.10788, equations 6-7; their scale 2^s is that of `{format: binary, scale:
power_of_two}`. A row of equal values, which has no deviation, is divided by the smallest one that there is.

>>> Standardize([], "w").apply(torch.tensor([[1.0, 2.0, 3.0]]), seed=0)
tensor([[-1.,  0.,  1.]])
"""

from typing import ClassVar

import torch
from torch import Tensor

from fairseq.quantization.transforms.base import TRANSFORMS, Transform


@TRANSFORMS.register("standardize")
class Standardize(Transform):
    """Mean 0 and deviation 1 over the last axis."""

    is_rotation: ClassVar[bool] = False
    roles: ClassVar[tuple[str, ...]] = ("weight",)

    def apply(self, x: Tensor, seed: int) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        if x.shape[-1] < 2:
            return centred
        return centred / centred.std(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
