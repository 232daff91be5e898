"""Rounding noise from a hash of the element's index: reproducible, unbiased, no random-number generator.

Stochastic rounding adds u in [-1/2, 1/2] before rounding, so that the expected code is the real number itself. Here

    u(i, j) = ((a(i) xor b(j)) * K mod 2^32) / 2^32          i: row, j: column (last axis) of the tensor

as a signed number, where a and b are 32-bit hashes of (key, row) and (key, column), K is odd, and key is a hash of
(seed, layer, update, micro-batch). Each u is uniform and any two of them are independent, because b(j) and b(j') are
and the steps behind are one to one; so sums of rounding errors, and the gradients formed from them, have the variance
that independent noise gives. The product breaks what regularity is left among the corners of a rectangle. The hash
costs rows + columns steps and two cheap operations per element.

The micro-batch is counted over the whole update: the i-th of rank r among W processes has number i * W + r, as it has
in one process that accumulates W times as often. Ranges are taken per micro-batch. So the same update on 1 and on 2
processes rounds every gradient alike.

>>> key = NoiseKey(seed=1, layer=layer_number("fc1.grad_output"), update=7, micro_batch=0)
>>> x = torch.full((1000, 1000), 0.3)
>>> round(HashNoise(key, x).add_to(x).round().mean().item(), 2)
0.3
"""

import zlib
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.quantization.cached import cached_tensors

_MASK = 2**64 - 1
PIECE = 2**18  # elements
SPREAD = 0x2545F491  # odd, so that multiplying is one to one


class NoiseKey(NamedTuple):
    """What names one use of noise."""

    seed: int
    layer: int
    update: int
    micro_batch: int = 0


def layer_number(path: str) -> int:
    """A quantizer's number in the key: the CRC-32 of its path, the same in every process."""
    return zlib.crc32(path.encode())


def _mix(state: int) -> int:
    """A bijection of 64-bit integers that spreads every bit (the finalizer of SplitMix64, Steele et al. 2014)."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


@cached_tensors(maxsize=64)
def _spread_indices(count: int, device: torch.device) -> Tensor:
    """0 .. count-1, each times an odd constant: the part of the hash that does not depend on the key."""
    return torch.arange(count, dtype=torch.int64, device=device) * _signed(0x9E3779B97F4A7C15)


def hash_state(key: NoiseKey) -> int:
    """What the hashes of all indices under `key` start from, 64 bits."""
    state = 0
    for number in key:
        state = _mix((state + number + 0x9E3779B97F4A7C15) & _MASK)
    return state


def _hash_indices(key: NoiseKey, count: int, device: torch.device) -> Tensor:
    """int32 hashes of 0 .. count-1 under `key`, all values equally likely."""
    x = _spread_indices(count, device) + _signed(hash_state(key))
    # tensors have only the arithmetic shift: mask off the copies of the sign bit
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return (x >> 32).to(torch.int32)


class HashNoise:
    """Noise for one tensor of `x`'s shape."""

    def __init__(self, key: NoiseKey, x: Tensor):
        self.columns = x.shape[-1] if x.dim() else 1
        self.rows = x.numel() // max(self.columns, 1)
        hashes = _hash_indices(key, self.rows + self.columns, x.device)
        self.row_hashes, self.column_hashes = hashes[: self.rows], hashes[self.rows :]

    def integers(self, start: int = 0, stop: Optional[int] = None, out: Optional[Tensor] = None) -> Tensor:
        """The noise of rows start .. stop-1 times 2^32, int32 (rows, columns); `out`: memory for it."""
        return torch.bitwise_xor(self.row_hashes[start:stop, None], self.column_hashes, out=out).mul_(SPREAD)

    def add_to(self, x: Tensor) -> Tensor:
        """Add the noise in place to `x`, a tensor of the same number of elements; returns it."""
        if x.device.type != "cpu" or not x.is_contiguous() or not x.numel():
            return x.add_(self.integers().view(x.shape).to(x.dtype), alpha=2.0**-32)
        rows = x.view(self.rows, self.columns)
        # pieces small enough to stay in cache between the operations
        step = min(max(PIECE // self.columns, 1), self.rows)
        whole = torch.empty(step, self.columns, dtype=torch.int32)
        real = torch.empty(step, self.columns, dtype=x.dtype)
        for start in range(0, self.rows, step):
            piece = rows[start : start + step]
            count = piece.shape[0]
            # the cast to fp32 rounds to nearest, so 1/2 itself may occur
            real[:count].copy_(self.integers(start, start + step, whole[:count]))
            piece.add_(real[:count], alpha=2.0**-32)
        return x
