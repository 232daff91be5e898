"""`delta:B,G`: what changed since a sample was seen last, as `group:B,G` (AQ-SGD, Wang et al. 2022).

    first visit     x travels in fp32                             m = x
    later           the codes of x - m travel                     m = m + decode(codes), which is what arrives

Both ends keep m, at 8 bits, by the number of the sample; `with_samples` binds the codec to such a cache and to the
samples of a batch, whose rows lie along the first axis. Where a sample has another length than last time, what is new
counts as changed from 0. Without a cache every visit is one that changes from 0. The error is that of coding the
change, so zeros do not stay exact. Ends with different caches would drift apart: caches belong into checkpoints.

>>> c, sent, received = Delta("2", "64"), DeltaCache(), DeltaCache()
>>> x = torch.linspace(-1, 1, 64).view(1, 64)
>>> for visit in range(3):
...     message = c.with_samples(sent, [7]).encode(x + 0.01 * visit)
...     y = c.with_samples(received, [7]).decode(message, x.shape)
...     message.numel(), bool((y - x - 0.01 * visit).abs().max() < 0.01)
(260, True)
(24, True)
(24, True)
"""

import math
from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Shape
from fairseq.distributed.codecs.group import Group
from fairseq.errors import DataError

_KEPT = Group("8", "64")


class DeltaCache:
    """What arrived last, by the number of the sample, at 8 bits."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[tuple[int, ...], Tensor]] = {}

    def __contains__(self, sample: int) -> bool:
        return sample in self._rows

    def put(self, sample: int, row: Tensor) -> None:
        """Keep a sample's row, of any shape."""
        flat = row.reshape(-1)
        self._rows[sample] = (tuple(row.shape), _KEPT.pack(flat.contiguous(), flat.shape, 0))

    def get(self, sample: int, shape: Shape, device: torch.device) -> Tensor:
        """A sample's row in `shape`: cut, or filled up with zeros, along the first axis."""
        kept, packed = self._rows[sample]
        row = _KEPT.unpack(packed, (math.prod(kept),)).view(kept).to(device)
        if tuple(shape) == kept:
            return row
        whole = torch.zeros(tuple(shape), device=device)
        if len(kept) == len(shape) and kept[1:] == tuple(shape)[1:]:
            common = min(kept[0], shape[0])
            whole[:common] = row[:common]
        return whole

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        return sum(packed.numel() for _, packed in self._rows.values())

    def state_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {str(sample): [list(shape), packed] for sample, (shape, packed) in self._rows.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._rows = {int(sample): (tuple(shape), packed) for sample, (shape, packed) in state.items()}


@CODECS.register("delta")
class Delta(Group):
    """`group`'s arguments."""

    form = "delta:BITS,SIZE[,sr]"
    cache: Optional[DeltaCache] = None
    samples: Sequence[int] = ()

    def with_samples(self, cache: DeltaCache, samples: Sequence[int]) -> "Delta":
        """This codec for a batch of these samples; encoding, and at the other end decoding, fills the cache."""
        bound = Delta(str(self.bits), str(self.group), "sr" if self.stochastic else "nearest")
        bound.spec, bound.cache, bound.samples = self.spec, cache, list(samples)
        return bound

    def packed_size(self, shape: Shape) -> int:
        if self.cache is None:
            return super().packed_size(shape)
        size = math.prod(shape[1:])
        known = sum(sample in self.cache for sample in self._of(shape))
        return known * self._bytes_of(size) + (len(self.samples) - known) * 4 * size

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        cache = self.cache
        if cache is None:
            return super().pack(x, shape, seed)
        parts = []
        for place, (sample, row) in enumerate(zip(self._of(shape), x.view(shape), strict=True)):
            if sample not in cache:
                parts.append(row.reshape(-1).view(torch.uint8))
                cache.put(sample, row)
                continue
            kept, flat = cache.get(sample, shape[1:], x.device), (math.prod(shape[1:]),)
            packed = super().pack((row - kept).reshape(-1).contiguous(), flat, seed + place)
            parts.append(packed)
            cache.put(sample, kept + super().unpack(packed, flat).view(kept.shape))
        return torch.cat(parts)

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        cache = self.cache
        if cache is None:
            return super().unpack(packed, shape)
        rows, start, flat = [], 0, (math.prod(shape[1:]),)
        for sample in self._of(shape):
            is_known = sample in cache
            stop = start + (self._bytes_of(flat[0]) if is_known else 4 * flat[0])
            part = packed[start:stop].clone()
            if is_known:
                kept = cache.get(sample, shape[1:], packed.device)
                row = kept + Group.unpack(self, part, flat).view(kept.shape)
            else:
                row = part.view(torch.float32).view(tuple(shape[1:]))
            cache.put(sample, row)
            rows.append(row.reshape(-1))
            start = stop
        return torch.cat(rows)

    def _of(self, shape: Shape) -> Sequence[int]:
        if not shape or shape[0] != len(self.samples):
            raise DataError(f"codec {self.spec}: {len(self.samples)} samples for a tensor of shape {list(shape)}")
        return self.samples
