"""Keys and values that incremental decoding keeps from step to step.

A state holds "prev_key" and "prev_value" (B, H, S, D) and "prev_key_padding_mask" (B, S) or None, fairseq's names.

>>> state = save(torch.zeros(4, 3, 8), torch.zeros(4, 3, 8), None, num_heads=2)
>>> state["prev_key"].shape, reorder(state, torch.tensor([1, 1, 0]))["prev_key"].shape
(torch.Size([2, 2, 3, 8]), torch.Size([3, 2, 3, 8]))
"""

from typing import Optional

import torch
from torch import Tensor

State = dict[str, Optional[Tensor]]


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


def extend(
    state: State, k: Tensor, v: Tensor, key_padding_mask: Optional[Tensor]
) -> tuple[Tensor, Tensor, Optional[Tensor]]:
    """What was kept followed by new keys and values (B*H, s, D); a missing half of the padding mask is all false."""
    if not state:
        return k, v, key_padding_mask
    old_k, old_v, old_mask = load(state)
    keys, values = torch.cat([old_k, k], dim=1), torch.cat([old_v, v], dim=1)
    if old_mask is None and key_padding_mask is None:
        return keys, values, None
    known = old_mask if old_mask is not None else key_padding_mask
    assert known is not None
    batch, length = known.size(0), keys.size(1)
    mask = known.new_zeros(batch, length)
    if old_mask is not None:
        mask[:, : old_mask.size(1)] = old_mask
    if key_padding_mask is not None:
        # the caller may pass only the newest part of the mask, or all of it
        mask[:, length - key_padding_mask.size(1) :] = key_padding_mask
    return keys, values, mask


def reorder(state: State, new_order: Tensor) -> State:
    """Rows in the order of `new_order`, as beam search shuffles its hypotheses."""
    return {name: None if kept is None else kept.index_select(0, new_order) for name, kept in state.items()}
