"""`group:B,G`: groups of G neighbours with a range each, in B bits; `tensor:B`: one range for all.

    low = min(x, 0), high = max(x, 0) of a group       so that 0 lies in every range
    scale = (high - low) / (2^B - 1)                   its leading 32 - B bits, rounded up
    zero = round(-low / scale)                         a code: 0 is sent exactly
    code = clamp(round(x / scale + u) + zero)          u = 0, or with ",sr" uniform in [-1/2, 1/2]: unbiased
    value = (code - zero) * scale                      |value - x| <= scale / 2

A group costs 32 bits, scale and zero point in one word, and B bits for each value.

>>> c = Group("2", "4")
>>> c.unpack(c.pack(torch.tensor([-1.0, 0.0, 0.6, 2.0]), (4,), 0), (4,))
tensor([-1.,  0.,  1.,  2.])
"""

import ctypes
import math

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Codec, Shape, whole
from fairseq.distributed.codecs.kernels import call, native, pack_codes, packed_bytes, unpack_codes
from fairseq.errors import ConfigError

_LEAST_SCALE = 2.0**-126  # below it 1 / scale may be infinite; such a group is sent as zeros
MAX_GROUP = 2**31 - 1


@CODECS.register("group")
class Group(Codec):
    """`bits` bits and a range for every `group` neighbours; `rounding`: "sr" or "nearest"."""

    form = "group:BITS,SIZE[,sr]"

    def __init__(self, bits: str, group: str, rounding: str = "nearest"):
        self.bits = whole(bits, "the number of bits", 1, 16)
        self.group = whole(group, "the size of a group", 1, MAX_GROUP)
        if rounding not in ("sr", "nearest"):
            raise ConfigError(f"rounding is {rounding!r}, neither sr nor nearest")
        self.stochastic = rounding == "sr"

    def packed_size(self, shape: Shape) -> int:
        return self._bytes_of(math.prod(shape))

    def _bytes_of(self, count: int) -> int:
        return 4 * -(-count // self.group) + packed_bytes(count, self.bits)

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        count, seed = x.numel(), mixed(seed)
        library = native(x)
        if library is None:
            return self._pack_in_torch(x, seed)
        out = torch.empty(self._bytes_of(count), dtype=torch.uint8)
        codes = out[4 * -(-count // self.group) :]
        bits, noise = ctypes.c_int(self.bits), ctypes.c_int(self.stochastic)
        call(library.group_encode, x, count, self.group, bits, noise, ctypes.c_uint32(seed), out, codes)
        return out

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        count = math.prod(shape)
        split = 4 * -(-count // self.group)
        library = native(packed)
        if library is not None:
            y = torch.empty(count)
            words = packed[:split]
            if words.data_ptr() % 4:
                words = words.clone()
            call(library.group_decode, words, packed[split:], count, self.group, ctypes.c_int(self.bits), y)
            return y
        words = packed[:split].clone().view(torch.int32)
        mask = 2**self.bits - 1
        scale, zero = (words & ~mask).view(torch.float32), words & mask
        codes = unpack_codes(packed[split:], self.bits, count)
        group = torch.arange(count, device=packed.device) // self.group
        return (codes - zero[group]).to(torch.float32) * scale[group]

    def _pack_in_torch(self, x: Tensor, seed: int) -> Tensor:
        """What the kernel does, operation for operation."""
        count, mask = x.numel(), 2**self.bits - 1
        size = min(self.group, count)
        rows = torch.nn.functional.pad(x, (0, -count % size)).view(-1, size)
        low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
        scale = high / mask - low / mask
        words = (scale.view(torch.int32) + mask) & ~mask
        broken = ~rows.isfinite().all(1) | (words >= 0x7F800000)
        zero = (-low / words.view(torch.float32)).round().nan_to_num(0, 0, 0).clamp(0, mask).to(torch.int32)
        words = torch.where(scale < _LEAST_SCALE, torch.zeros_like(words), words | zero)
        words = torch.where(broken, torch.full_like(words, 0x7FFFFFFF & ~mask), words)
        scale, zero = (words & ~mask).view(torch.float32), words & mask
        inverse = torch.where(scale > 0, 1.0 / scale, torch.zeros_like(scale))
        scaled = rows * inverse[:, None]
        if self.stochastic:
            scaled = scaled + noise(rows.numel(), seed, x.device).view_as(rows)
        codes = scaled.nan_to_num(0, 0, 0).round().to(torch.int32).add_(zero[:, None]).clamp_(0, mask).view(-1)[:count]
        return torch.cat([words.view(torch.uint8), pack_codes(codes, self.bits)])


@CODECS.register("tensor")
class Whole(Group):
    """One range for the whole tensor."""

    form = "tensor:BITS[,sr]"

    def __init__(self, bits: str, rounding: str = "nearest"):
        super().__init__(bits, str(MAX_GROUP), rounding)


def mixed(seed: int) -> int:
    """32 bits that differ in about half of their places between neighbouring seeds."""
    state = (seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    return (state >> 32) ^ (state & 0x7FFFFFFF)


def noise(count: int, seed: int, device: torch.device) -> Tensor:
    """Uniform in [-1/2, 1/2], a hash of the index: what `noise_bits` in `codecs.cpp` computes."""

    def times(h: Tensor, factor: int) -> Tensor:
        return h * factor & 0xFFFFFFFF

    h = times(torch.arange(count, device=device, dtype=torch.int64), 0x9E3779B1) + seed & 0xFFFFFFFF
    h = times(h ^ h >> 16, 0x21F0AAAD)
    h = times(h ^ h >> 15, 0x735A2D97)
    h = h ^ h >> 15
    signed = torch.where(h >= 2**31, h - 2**32, h).to(torch.int32)
    return signed.to(torch.float32) * 2.0**-32
