"""Layer normalisation (Ba et al., arXiv:1607.06450): y = (x - mean) / sqrt(var + eps) * weight + bias.

>>> LayerNorm(4).eps
1e-05
"""

from collections.abc import Sequence
from typing import Union

import torch.nn.functional as F
from torch import Tensor, nn


def LayerNorm(
    normalized_shape: Union[int, Sequence[int]],
    eps: float = 1e-5,
    elementwise_affine: bool = True,
    export: bool = False,
) -> nn.LayerNorm:
    """torch's LayerNorm; `export` is accepted because fairseq's callers pass it, there is one kernel for all uses."""
    return nn.LayerNorm(normalized_shape, eps, elementwise_affine)


class Fp32LayerNorm(nn.LayerNorm):
    """LayerNorm computed in fp32 whatever the input's type; the result has the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return F.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps).type_as(input)
