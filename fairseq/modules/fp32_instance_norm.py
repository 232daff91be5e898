"""Instance normalisation (Ulyanov et al., arXiv:1607.08022) in fp32."""

import torch.nn.functional as F
from torch import Tensor, nn


class Fp32InstanceNorm(nn.InstanceNorm1d):
    """InstanceNorm1d computed in fp32 whatever the input's type; the result has the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        mean, var, weight, bias = (
            None if tensor is None else tensor.float()
            for tensor in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        own = self.training or not self.track_running_stats
        return F.instance_norm(input.float(), mean, var, weight, bias, own, self.momentum or 0.0, self.eps).type_as(
            input
        )
