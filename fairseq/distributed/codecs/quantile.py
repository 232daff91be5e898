"""`quantile:S,Q`: 2^S parts of about equal mass, 2^Q evenly spaced levels in each; `quantile:parts=K,Q` for any K.

    part = the one of K intervals that x lies in, between quantiles of the values
    level = round((x - least) / step)          least, step = (most - least) / (2^Q - 1) of the values in the part
    code = part * 2^Q + level                  ceil(log2 K) + Q bits
    value = least + level * step               a table that the message begins with, 8 bytes for each part

This is the "multiple quantization" of Epipe without its sort: quantiles come from at most 2^14 values, spread over the
tensor, and are kept to the leading 16 bits of a number, so that a table says the part of each value. No part has
values of both signs, and quantiles are those of negative and of positive values, so that zeros, however many, take one
level, which is exact. A part with one value gives it back.

>>> c = Quantile("1", "1")                                           # negative and other values, two levels each
>>> c.unpack(c.pack(torch.tensor([-8.0, -1.0, 0.0, 0.4, 5.0]), (5,), 0), (5,))
tensor([-8., -1.,  0.,  0.,  5.])
"""

import ctypes
import math

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Codec, Shape, whole
from fairseq.distributed.codecs.kernels import call, native, pack_codes, packed_bytes, unpack_codes
from fairseq.errors import ConfigError

SAMPLE = 2**14  # values that quantiles are taken from
KEYS, ZERO = 2**16, 2**15  # keys, and the key of 0
_LEAST_STEP = 2.0**-126


@CODECS.register("quantile")
class Quantile(Codec):
    """`parts`: S of 2^S parts, or "parts=K"."""

    form = "quantile:S,Q or quantile:parts=K,Q"

    def __init__(self, parts: str, level_bits: str):
        if parts.startswith("parts="):
            self.parts = whole(parts.partition("=")[2], "the number of parts", 2, 256)
        else:
            self.parts = 2 ** whole(parts, "the base-2 logarithm of the number of parts", 1, 8)
        self.level_bits = whole(level_bits, "the number of bits in a part", 1, 15)
        self.bits = self.level_bits + math.ceil(math.log2(self.parts))
        if self.bits > 16:
            raise ConfigError(f"{self.bits} bits for a value are more than 16")

    def packed_size(self, shape: Shape) -> int:
        return 8 * self.parts + packed_bytes(math.prod(shape), self.bits)

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        part_of = self._part_of_key(x)
        library = native(x)
        if library is None:
            return self._pack_in_torch(x, part_of)
        out = torch.empty(self.packed_size(tuple(x.shape)), dtype=torch.uint8)
        numbers = map(ctypes.c_int, (self.parts, self.level_bits, self.bits))
        call(library.quantile_encode, x, x.numel(), part_of, *numbers, out, out[8 * self.parts :])
        return out

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        count, split = math.prod(shape), 8 * self.parts
        ends = packed[:split].clone().view(torch.float32).view(self.parts, 2)
        levels = torch.arange(2**self.level_bits, device=packed.device, dtype=torch.float32)
        table = torch.zeros(2**self.bits, device=packed.device)  # codes that are none are read as 0
        table[: self.parts * len(levels)] = (levels * ends[:, 1:]).add_(ends[:, :1]).view(-1)
        library = native(packed)
        if library is None:
            return table[unpack_codes(packed[split:], self.bits, count)]
        y = torch.empty(count)
        call(library.table_decode, packed[split:], count, ctypes.c_int(self.bits), table, y)
        return y

    def _part_of_key(self, x: Tensor) -> Tensor:
        """The part of each key, uint8 (KEYS,)."""
        low, high = x.aminmax()
        sampled = keys(_sampled(x)).sort().values.cpu()
        negative, positive = sampled[sampled < ZERO], sampled[sampled > ZERO]
        below = self._parts_below(float(low), float(high), len(negative), len(positive))
        starts = torch.zeros(self.parts, dtype=torch.int64)
        starts[:below] = _quantiles(negative, below, 0)
        starts[below:] = _quantiles(positive, self.parts - below, ZERO)
        starts[0] = 0  # without negative values, too: every key has a part
        ends = torch.cat([starts[1:], torch.tensor([KEYS])])
        parts = torch.arange(self.parts, dtype=torch.uint8)
        return parts.repeat_interleave(ends - starts).to(x.device)

    def _parts_below(self, low: float, high: float, negative: int, positive: int) -> int:
        """How many parts the negative values get: their share, at least one, and one is left for what is not."""
        share = round(self.parts * negative / max(1, negative + positive))
        least, most = int(not low >= 0), self.parts - int(not high < 0)
        return min(max(share, least), most)

    def _pack_in_torch(self, x: Tensor, part_of: Tensor) -> Tensor:
        """What the kernel does, operation for operation."""
        part, most = part_of[keys(x)].to(torch.int64), 2**self.level_bits - 1
        bounds = x.new_zeros(2, self.parts)
        bounds[0].scatter_reduce_(0, part, x, "amin", include_self=False)
        bounds[1].scatter_reduce_(0, part, x, "amax", include_self=False)
        least, step = bounds[0] + 0.0, (bounds[1] - bounds[0]) / most
        step = torch.where(step >= _LEAST_STEP, step, torch.zeros_like(step))
        broken = torch.zeros_like(step).index_add_(0, part, (~x.isfinite()).to(step.dtype)) > 0
        least, step = least.masked_fill(broken, math.nan), step.masked_fill(broken, 0.0)
        inverse = torch.where(step > 0, 1.0 / step, torch.zeros_like(step))
        level = ((x - least[part]) * inverse[part]).nan_to_num(0, 0, 0).clamp_(0, most).round_()
        codes = (part << self.level_bits) + level.to(torch.int64)
        return torch.cat([torch.stack([least, step], 1).view(-1).view(torch.uint8), pack_codes(codes, self.bits)])


def keys(x: Tensor) -> Tensor:
    """The leading 16 bits of fp32 numbers, as int64 that ascend with them.

    >>> keys(torch.tensor([-1.0, -0.0, 0.0, 1.0])) - ZERO
    tensor([-16257,      0,      0,  16256])
    """
    bits = (x + 0.0).view(torch.int32)
    return ((torch.where(bits < 0, ~bits, bits ^ -(2**31)) >> 16) & 0xFFFF).to(torch.int64)


def _sampled(x: Tensor) -> Tensor:
    """At most SAMPLE values at places that no row length divides: equal steps would see some channels only."""
    if x.numel() <= SAMPLE:
        return x
    steps = torch.arange(SAMPLE, device=x.device) * 0x9E3779B1 % 2**31
    return x[steps * x.numel() >> 31]


def _quantiles(ascending: Tensor, parts: int, first: int) -> Tensor:
    """Keys at which `parts` equal shares begin; the first one begins at `first`."""
    at = torch.arange(parts) * len(ascending) // max(1, parts)
    starts = ascending[at] if len(ascending) else torch.full((parts,), first)
    starts[:1] = first
    return starts
