"""Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167) in fp32."""

from typing import Any

from torch import Tensor, distributed, nn


class Fp32BatchNorm(nn.Module):
    """BatchNorm1d computed in fp32 whatever the input's type; the result has the input's type.

    Args:
        sync: statistics over all processes, where there are several.
        args, kwargs: for `nn.BatchNorm1d`.
    """

    def __init__(self, sync: bool = False, *args: Any, **kwargs: Any):
        super().__init__()
        in_group = distributed.is_available() and distributed.is_initialized()
        self.sync = sync and in_group and distributed.get_world_size() > 1
        self.bn = (nn.SyncBatchNorm if self.sync else nn.BatchNorm1d)(*args, **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        if self.bn.weight is not None and self.bn.weight.dtype != input.float().dtype:
            self.bn.float()  # the model was turned into 16 bits; its statistics stay in 32
        return self.bn(input.float()).type_as(input)
