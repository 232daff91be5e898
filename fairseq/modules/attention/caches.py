"""What attention keeps from one decoding step to the next, where one kernel reads it in place.

    StepCache      keys and values that each step adds, and which of them each hypothesis descends from
    SourceCache    those of an encoder's output, and which sentence each hypothesis belongs to

Both stay what they are when a step or an order is applied: the result is another cache that shares the tensors. Where
somebody asks for attention's state, or a step cannot be computed by the kernel, they become the ordinary one
(`state.py`).

N: hypotheses, B: sentences, H: heads, T: steps, S: source length, D: features of a head.
"""

from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor

from fairseq.modules.attention import state
from fairseq.quantization.kernels.step_attention import (
    StepGrids,
    StepKeys,
    decode_heads,
    decode_step,
    encode_heads,
    encode_step,
)
from fairseq.quantization.products.step_grids import GridKey


class Storage(NamedTuple):
    """In what numbers keys and values (R, H, D) are kept.

    Attributes:
        depth: D.
        num_bits: 8 or 4 for codes with a scale for each head, or None.
        key, grids: of an attention in integers, whose codes are kept; or None.
    """

    depth: int
    num_bits: Optional[int] = None
    key: Optional[GridKey] = None
    grids: Optional[StepGrids] = None

    def encode(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values as they are kept. NotANumber where they have no codes."""
        if self.num_bits is not None:
            return encode_heads(k, self.num_bits), encode_heads(v, self.num_bits)
        if self.grids is not None:
            return encode_step(k, self.grids.key), encode_step(v, self.grids.value)
        return k, v

    def decode(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of what is kept."""
        if self.num_bits is not None:
            return decode_heads(k, self.num_bits, self.depth), decode_heads(v, self.num_bits, self.depth)
        if self.grids is not None:
            return decode_step(k, self.grids.key), decode_step(v, self.grids.value)
        return k, v


class StepCache(NamedTuple):
    """Keys and values by step.

    Attributes:
        keys, values: a slab (R, H, ...) for each step; R may change.
        places: int32 (N, T), rows of the slabs.
    """

    storage: Storage
    keys: list[Tensor]
    values: list[Tensor]
    places: Tensor

    @classmethod
    def empty(cls, storage: Storage, rows: int) -> "StepCache":
        return cls(storage, [], [], torch.empty(rows, 0, dtype=torch.int32, device="cpu"))

    def extended(self, k: Tensor, v: Tensor) -> "StepCache":
        """With the keys and values (N, H, D) of one more step."""
        k, v = self.storage.encode(k, v)
        own = torch.arange(k.size(0), dtype=torch.int32, device="cpu").unsqueeze(1)
        return StepCache(self.storage, [*self.keys, k], [*self.values, v], torch.cat([self.places, own], dim=1))

    def reordered(self, order: Tensor) -> "StepCache":
        return self._replace(places=self.places.index_select(0, order))

    def step_keys(self) -> StepKeys:
        return StepKeys(self.keys, self.values, self.places, None, self.storage.num_bits)

    def state(self) -> state.State:
        """The ordinary state."""
        rows = self.places.long().unbind(1)
        parts = []
        for slabs in (self.keys, self.values):
            read = [slab.index_select(0, row) for slab, row in zip(slabs, rows, strict=True)]
            parts.append(torch.stack(read, dim=2))  # (N, H, T, ...)
        k, v = self.storage.decode(*parts)
        return {"prev_key": k, "prev_value": v, "prev_key_padding_mask": None}

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(slab.nbytes for slab in (*self.keys, *self.values))


class SourceCache(NamedTuple):
    """Keys and values of a source.

    Attributes:
        k, v: (B, H, S, ...), in order.
        keys, values: the same by step, views.
        hidden: bool (B, S), true at padding, or None.
        sentences: int32 (N,), rows of k.
    """

    storage: Storage
    k: Tensor
    v: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    hidden: Optional[Tensor]
    sentences: Tensor

    @classmethod
    def of(cls, storage: Storage, k: Tensor, v: Tensor, hidden: Optional[Tensor], rows: int) -> "SourceCache":
        """From keys and values (B, H, S, D), which `rows` queries share."""
        k, v = storage.encode(k.contiguous(), v.contiguous())
        each = rows // k.size(0)
        sentences = torch.arange(k.size(0), dtype=torch.int32, device="cpu").repeat_interleave(each)
        return cls(storage, k, v, k.unbind(2), v.unbind(2), hidden, sentences)

    def reordered(self, order: Tensor) -> "SourceCache":
        return self._replace(sentences=self.sentences.index_select(0, order))

    def step_keys(self) -> StepKeys:
        places = self.sentences.unsqueeze(1).expand(-1, self.k.size(2))
        return StepKeys(self.keys, self.values, places, self.hidden, self.storage.num_bits)

    def state(self) -> state.State:
        """The ordinary state, with a row for each hypothesis."""
        rows = self.sentences.long()
        k, v = self.storage.decode(self.k, self.v)
        hidden = None if self.hidden is None else self.hidden.index_select(0, rows)
        return {
            "prev_key": k.index_select(0, rows),
            "prev_value": v.index_select(0, rows),
            "prev_key_padding_mask": hidden,
        }

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return self.k.nbytes + self.v.nbytes


Cache = Union[StepCache, SourceCache]
