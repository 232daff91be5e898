"""`hadamard+CODEC`: neighbours are rotated before another codec rounds them, and rotated back afterwards.

    y = H x / sqrt(n) for blocks of n = 64 neighbours, H with entries of 1 and -1 (Sylvester); H H = n I

A value that is far from its neighbours spreads over its block, so that the block's range shrinks. Zeros among other
values do not stay exact: their error is that of a sum of 64 rounding errors, without bias where those have none.
`hadamard:SIZE+CODEC` takes blocks of another power of two.

>>> from fairseq.distributed.codecs import codec
>>> codec("hadamard:4+raw").round_trip(torch.tensor([4.0, 0.0, 0.0, 0.0]))
tensor([4., 0., 0., 0.])
>>> codec("hadamard:4+raw").pack(torch.tensor([4.0, 0.0, 0.0, 0.0]), (4,), 0).view(torch.float32)
tensor([2., 2., 2., 2.])
"""

import ctypes
import math

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Codec, Shape, whole
from fairseq.distributed.codecs.kernels import call, native
from fairseq.errors import ConfigError


@CODECS.register("hadamard")
class Hadamard(Codec):
    """Blocks of `size` flat neighbours; the last one is filled up with zeros."""

    form = "hadamard+CODEC, such as hadamard+group:4,64"
    takes_inner = True

    def __init__(self, size: str = "64", *, inner: Codec):
        self.size_of_block = whole(size, "the size of a block", 2, 2**16)
        if self.size_of_block & (self.size_of_block - 1):
            raise ConfigError(f"the size of a block is {size}, not a power of two")
        self.inner = inner

    def _padded(self, count: int) -> int:
        return -(-count // self.size_of_block) * self.size_of_block

    def packed_size(self, shape: Shape) -> int:
        return self.inner.packed_size((self._padded(math.prod(shape)),))

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        padded = torch.nn.functional.pad(x, (0, self._padded(x.numel()) - x.numel()))
        if padded.data_ptr() == x.data_ptr():
            padded = padded.clone()
        return self.inner.pack(rotate_(padded, self.size_of_block), tuple(padded.shape), seed)

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        count = math.prod(shape)
        return rotate_(self.inner.unpack(packed, (self._padded(count),)), self.size_of_block)[:count]


def rotate_(x: Tensor, size: int) -> Tensor:
    """Blocks of a flat fp32 tensor times H / sqrt(size), in place; twice is the identity."""
    factor = 1 / math.sqrt(size)
    library = native(x)
    if library is not None:
        call(library.hadamard, x, x.numel(), size, ctypes.c_float(factor))
        return x
    y, half = x, 1
    while half < size:
        pairs = y.view(-1, 2, half)
        y = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1)
        half *= 2
    return x.copy_(y.reshape(-1)).mul_(factor)
