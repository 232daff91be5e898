"""`topk:RHO+CODEC`: the share RHO of the values with the largest magnitudes, by another codec; the others are 0.

    message = one bit for each value: is it kept      (the first in the lowest bit)
              the kept ones, with their signs, in the order of the tensor, as CODEC packs them

ceil(RHO n) values of n are kept; of equal magnitudes the first are. A gradient whose activations were sent with a mask
both sides know needs no bits for it: `with_mask`.

>>> from fairseq.distributed.codecs import codec
>>> c, x = codec("topk:0.5+raw"), torch.tensor([3.0, -1.0, 2.0, -4.0])
>>> c.round_trip(x)
tensor([ 3.,  0.,  0., -4.])
>>> known = c.with_mask(c.mask(c.encode(x), x.shape))
>>> known.round_trip(torch.ones(4)), known.size((4,))
(tensor([1., 0., 0., 1.]), 12)
"""

import math
from typing import Optional

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, TAG_BYTES, Codec, Shape
from fairseq.distributed.codecs.kernels import call, native, pack_codes, packed_bytes, unpack_codes
from fairseq.errors import ConfigError, DataError


@CODECS.register("topk")
class TopK(Codec):
    """`share`: RHO, above 0 and at most 1. `known`: a bitmap of the values that are kept, which does not travel."""

    form = "topk:RHO+CODEC, such as topk:0.5+group:8,64"
    takes_inner = True

    def __init__(self, share: str, inner: Codec, known: Optional[Tensor] = None):
        try:
            self.share = float(share)
        except ValueError:
            self.share = math.nan
        if not 0 < self.share <= 1:
            raise ConfigError(f"the share of values is {share!r}, not a number above 0 and at most 1")
        self.inner, self.known = inner, known

    def kept(self, count: int) -> int:
        """How many of `count` values are sent."""
        return min(count, math.ceil(self.share * count))

    def packed_size(self, shape: Shape) -> int:
        count = math.prod(shape)
        bitmap = packed_bytes(count, 1) if self.known is None else 0
        return bitmap + self.inner.packed_size((self.kept(count),))

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        count = self.kept(x.numel())
        bitmap = largest(x, count) if self.known is None else self.known
        values = gather(x, bitmap, count)
        packed = self.inner.pack(values, (count,), seed)
        return torch.cat([bitmap, packed]) if self.known is None else packed

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        count = math.prod(shape)
        bitmap = self.known
        if bitmap is None:
            split = packed_bytes(count, 1)
            # the rest begins where the kernels of the inner codec want it
            bitmap, packed = packed[:split], packed[split:].clone()
        kept = self.kept(count)
        if marked(bitmap, count) != kept:
            raise DataError(f"codec {self.spec}, shape {list(shape)}: the message does not mark {kept} values")
        return scatter(self.inner.unpack(packed, (kept,)), bitmap, count)

    def mask(self, message: Tensor, shape: Shape) -> Optional[Tensor]:
        start = TAG_BYTES
        return message[start : start + packed_bytes(math.prod(shape), 1)].clone() if self.known is None else self.known

    def with_mask(self, mask: Optional[Tensor]) -> Codec:
        if mask is None:
            return self
        same = TopK(str(self.share), self.inner, mask)
        same.spec = f"{self.spec} with a known mask"
        return same

    def shares_mask(self, other: Codec) -> bool:
        return isinstance(other, TopK) and other.share == self.share


def largest(x: Tensor, count: int) -> Tensor:
    """A bitmap, uint8, of the `count` largest magnitudes of a flat tensor; NaN is the largest of all."""
    library = native(x)
    if library is not None:
        bitmap = torch.empty(packed_bytes(x.numel(), 1), dtype=torch.uint8)
        call(library.largest, x, x.numel(), count, bitmap)
        return bitmap
    magnitudes = x.view(torch.int32) & 0x7FFFFFFF
    threshold = magnitudes.kthvalue(x.numel() - count + 1).values
    above, equal = magnitudes > threshold, magnitudes == threshold
    take = above | (equal & (equal.cumsum(0) <= count - above.sum()))
    return pack_codes(take, 1)


def marked(bitmap: Tensor, count: int) -> int:
    """How many of `count` values are marked."""
    library = native(bitmap)
    if library is None:
        return int(unpack_codes(bitmap, 1, count).sum())
    total = torch.empty(1, dtype=torch.int64)
    call(library.count_marked, bitmap.contiguous(), count, total)
    return int(total)


def gather(x: Tensor, bitmap: Tensor, count: int) -> Tensor:
    """The `count` marked values of a flat tensor."""
    library = native(x)
    if library is None:
        return x[unpack_codes(bitmap, 1, x.numel()).bool()]
    values = torch.empty(count + 1)  # the kernel writes before it knows whether a value is marked
    call(library.gather_marked, x, bitmap, x.numel(), values)
    return values[:count]


def scatter(values: Tensor, bitmap: Tensor, count: int) -> Tensor:
    """A flat tensor of `count` values: the marked ones, zeros elsewhere."""
    library = native(values)
    if library is None:
        y = values.new_zeros(count)
        y[unpack_codes(bitmap, 1, count).bool()] = values
        return y
    y = torch.empty(count)
    call(library.scatter_marked, torch.nn.functional.pad(values, (0, 1)), bitmap, count, y)
    return y
