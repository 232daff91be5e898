"""Group normalisation (Wu and He, arXiv:1803.08494) in fp32."""

import torch.nn.functional as F
from torch import Tensor, nn


class Fp32GroupNorm(nn.GroupNorm):
    """GroupNorm computed in fp32 whatever the input's type; the result has the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return F.group_norm(input.float(), self.num_groups, weight, bias, self.eps).type_as(input)
