"""The range of the tensor at hand: its smallest and largest value, or the statistic that the format takes instead."""

from torch import Tensor

from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request, whole_range


@OBSERVERS.register("minmax")
class MinMax(Observer):
    """Smallest and largest value; nothing is clipped, so one outlier sets the scale."""

    def forward(self, x: Tensor, request: Request) -> Range:
        return whole_range(x, request)
