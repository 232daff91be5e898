"""What an observer is asked and what it answers.

Most observers look at the tensor at hand and keep nothing; running ones keep a running range for evaluation.

>>> import torch
>>> from fairseq.quantization.formats import build_format
>>> request = Request(axes=(0, 1), format=build_format("symmetric"), num_bits=8)
>>> OBSERVERS.lookup("minmax")()(torch.tensor([[1.0, -2.0]]), request)
Range(low=tensor([[-2.]]), high=tensor([[1.]]), covers=True)
"""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from fairseq.native import minmax
from fairseq.quantization.formats import NumberFormat
from fairseq.quantization.metadata_state import MetadataState
from fairseq.quantization.registry import Registry


class Request(NamedTuple):
    """For what a range is wanted: the axes that share a range, the format and its bits."""

    axes: tuple[int, ...]
    format: NumberFormat
    num_bits: int


class Range(NamedTuple):
    """Lower and upper ends, shaped to broadcast against the tensor; `covers`: no value of it lies outside."""

    low: Tensor
    high: Tensor
    covers: bool


class Observer(MetadataState):
    """A source of ranges. Called with an fp32 tensor and a `Request`."""

    is_running: ClassVar[bool] = False  # keeps a running range, so its shape must not depend on the batch

    def forward(self, x: Tensor, request: Request) -> Range:
        raise NotImplementedError

    def __call__(self, x: Tensor, request: Request) -> Range:
        # observers are called hundreds of times per step and take no hooks: skip nn.Module's machinery
        return self.forward(x, request)


def extremes(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Minimum and maximum over `axes`, which stay as axes of size 1."""
    if not axes:  # torch takes no axes for all of them
        return x, x
    if len(axes) == x.dim():
        low, high = minmax.cached_minmax(x) or torch.aminmax(x)
        return low.view([1] * x.dim()), high.view([1] * x.dim())
    # two vectorised reductions; aminmax along an axis is several times slower on CPU
    return x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)


def largest_magnitude(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The largest |x| over `axes`, which stay as axes of size 1; NaN where there is one."""
    if not axes:
        return x.abs()
    if x.dtype != torch.float32:
        return x.abs().amax(axes, keepdim=True)
    # without their sign, floating-point numbers are ordered as integers, whose maximum is several times faster
    return (x.view(torch.int32) & 0x7FFFFFFF).amax(axes, keepdim=True).view(torch.float32)


def whole_range(x: Tensor, request: Request) -> Range:
    """Smallest and largest value, or the numbers that the format takes in their place."""
    if request.format.block is not None:
        most = largest_magnitude(x, request.axes)
        return Range(-most, most, covers=True)
    found = request.format.statistic(x, request.axes)
    return Range(*extremes(x, request.axes), covers=True) if found is None else Range(*found, covers=False)


OBSERVERS: Registry[Any] = Registry("range source", __name__.rpartition(".")[0])
