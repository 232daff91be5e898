"""The range that holds `percent` of the values at either end: outliers are clipped.

With n values in ascending order, k = ceil(percent / 100 * n): high is the k-th, low the (n + 1 - k)-th (nearest rank).

>>> import torch
>>> from fairseq.quantization.formats import build_format
>>> request = Request(axes=(0,), format=build_format("affine_float_zp"), num_bits=8)
>>> Percentile(percent=90)(torch.arange(10.0), request)
Range(low=tensor([1.]), high=tensor([8.]), covers=False)
"""

import math

from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request


@OBSERVERS.register("percentile")
class Percentile(Observer):
    """Nearest-rank percentiles.

    Args:
        percent: share of the values, in percent, that lie at or under the upper end; above 50.
    """

    def __init__(self, percent: float = 99.9):
        super().__init__()
        if not 50 < percent <= 100:
            raise ConfigError(f"range percentile: percent must lie above 50 and at most at 100, got {percent}")
        self.percent = percent

    def forward(self, x: Tensor, request: Request) -> Range:
        if request.format.needs_statistic:
            raise ConfigError(
                f"range percentile: the format {request.format} takes its levels from a statistic of its own, not "
                "from the ends of a range; use minmax, mse or ema"
            )
        kept = [axis for axis in range(x.dim()) if axis not in request.axes]
        rows = x.permute(*kept, *request.axes).flatten(len(kept))  # (..., values that share a range)
        count = rows.shape[-1]
        rank = max(math.ceil(self.percent / 100 * count), 1)
        shape = [1 if axis in request.axes else x.shape[axis] for axis in range(x.dim())]
        low = rows.kthvalue(count + 1 - rank, dim=-1).values
        high = rows.kthvalue(rank, dim=-1).values
        return Range(low.view(shape), high.view(shape), covers=rank == count)
