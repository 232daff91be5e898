"""The range of the tensor at hand: its smallest and largest value."""

from torch import Tensor

from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request, extremes, largest_magnitude


@OBSERVERS.register("minmax")
class MinMax(Observer):
    """Smallest and largest value; nothing is clipped, so one outlier sets the scale."""

    def forward(self, x: Tensor, request: Request) -> Range:
        if request.format.block is not None:
            most = largest_magnitude(x, request.axes)
            return Range(-most, most, covers=True)
        return Range(*extremes(x, request.axes), covers=True)
