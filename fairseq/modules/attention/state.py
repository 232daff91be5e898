"""Keys and values that incremental decoding keeps from step to step.

A state holds "prev_key" and "prev_value" (B, H, S, D) and "prev_key_padding_mask" (B, S) or None, fairseq's names.
Where K queries in succession share a row of keys, as hypotheses of one sentence do in attention to an encoder, it also
holds "queries_per_key", K.

Outside of training, keys and values lie in buffers with room for later ones, so that a step writes its own only.

>>> state = save(torch.zeros(4, 3, 8), torch.zeros(4, 3, 8), None, num_heads=2)
>>> state["prev_key"].shape, reorder(state, torch.tensor([1, 1, 0]))["prev_key"].shape
(torch.Size([2, 2, 3, 8]), torch.Size([3, 2, 3, 8]))
"""

from typing import Optional

import torch
from torch import Tensor

State = dict[str, Optional[Tensor]]
_STEPS = 8  # buffers grow by so many


class _Room:
    """A buffer (B, H, capacity, D) of which the first `filled` steps are in use.

    Several tensors may look into one buffer: the one that ends where it is filled may be continued in place, any other
    is copied first. So states that were put aside stay what they were.
    """

    def __init__(self, buffer: Tensor, filled: int):
        self.buffer, self.filled = buffer, filled

    def view(self) -> Tensor:
        tensor = self.buffer[:, :, : self.filled]
        tensor._room = self  # type: ignore[attr-defined]
        return tensor


def save(k: Tensor, v: Tensor, key_padding_mask: Optional[Tensor], num_heads: int) -> State:
    """The state for keys and values (B*H, S, D)."""
    return {
        "prev_key": k.unflatten(0, (-1, num_heads)),
        "prev_value": v.unflatten(0, (-1, num_heads)),
        "prev_key_padding_mask": key_padding_mask,
    }


def load(state: State) -> tuple[Tensor, Tensor, Optional[Tensor]]:
    """Keys and values (B*H, S, D) and their padding mask."""
    k, v = state["prev_key"], state["prev_value"]
    assert k is not None and v is not None
    return k.flatten(0, 1), v.flatten(0, 1), state.get("prev_key_padding_mask")


def extend(state: State, k: Tensor, v: Tensor, key_padding_mask: Optional[Tensor], num_heads: int) -> State:
    """The state with new keys and values (B*H, s, D) behind what was kept; a missing half of the padding mask is all
    false."""
    if not state:
        return save(k, v, key_padding_mask, num_heads)
    old_k, old_v, old_mask = state["prev_key"], state["prev_value"], state.get("prev_key_padding_mask")
    assert old_k is not None and old_v is not None
    keys = _append(old_k, k.unflatten(0, (-1, num_heads)))
    values = _append(old_v, v.unflatten(0, (-1, num_heads)))
    mask = _mask(old_mask, key_padding_mask, keys.size(2))
    return {"prev_key": keys, "prev_value": values, "prev_key_padding_mask": mask}


def _append(old: Tensor, new: Tensor) -> Tensor:
    """`old` (B, H, S, D) followed by `new` (B, H, s, D), in place where there is room."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.cat([old, new], dim=2)
    start, length = old.size(2), old.size(2) + new.size(2)
    room = getattr(old, "_room", None)
    if room is None or room.filled != start or room.buffer.size(2) < length:
        room = _Room(old.new_empty(*old.shape[:2], _rounded(length), old.size(3)), start)
        room.buffer[:, :, :start] = old
    room.buffer[:, :, start:length] = new
    room.filled = length
    return room.view()  # type: ignore[no-any-return]


def _rounded(length: int) -> int:
    return -(-length // _STEPS) * _STEPS


def _mask(old: Optional[Tensor], new: Optional[Tensor], length: int) -> Optional[Tensor]:
    """The padding mask (B, length) of what was kept and what is new."""
    known = new if old is None else old
    if known is None:
        return None
    mask = known.new_zeros(known.size(0), length)
    if old is not None:
        mask[:, : old.size(1)] = old
    if new is not None:
        # the caller may pass only the newest part of the mask, or all of it
        mask[:, length - new.size(1) :] = new
    return mask


def reorder(state: State, new_order: Tensor) -> State:
    """Rows in the order of `new_order`, as beam search shuffles its hypotheses."""
    queries = state.get("queries_per_key")
    if queries is None:
        return {name: None if kept is None else _select(kept, new_order) for name, kept in state.items()}
    count = int(queries)
    rows = new_order[::count] // count
    kept_rows = state["prev_key"].size(0)  # type: ignore[union-attr]
    if rows.device.type == "cpu" and rows.numel() == kept_rows and torch.equal(rows, torch.arange(kept_rows)):
        return state
    return {
        name: kept if kept is None or kept is queries else kept.index_select(0, rows) for name, kept in state.items()
    }


def _select(kept: Tensor, new_order: Tensor) -> Tensor:
    room = getattr(kept, "_room", None)
    if room is None or room.filled != kept.size(2):
        return kept.index_select(0, new_order)
    return _Room(room.buffer.index_select(0, new_order), room.filled).view()
