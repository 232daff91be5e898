"""What may be attended to, as one tensor that is added to the scores.

A masked score gets half the lowest finite number instead of -inf: its probability is exactly zero if there is any real
score, and a row in which everything is masked (a sentence of padding) stays finite.

>>> additive_mask(torch.tensor([[False, True]]), None, torch.float32)[0, 0, 0].exp()
tensor([1., 0.])
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def additive_mask(
    key_padding_mask: Optional[Tensor], attn_mask: Optional[Tensor], dtype: torch.dtype
) -> Optional[Tensor]:
    """Both masks as one that broadcasts over scores (B, H, T, S), or None if nothing is masked.

    Args:
        key_padding_mask: (B, S), true at padding.
        attn_mask: (T, S), or (B, T, S) with B possibly 1; true where attention is forbidden, or numbers to add.
        dtype: the scores' type.
    """
    mask = None
    if key_padding_mask is not None:
        mask = _as_numbers(key_padding_mask.bool(), dtype)[:, None, None, :]  # (B, 1, 1, S)
    if attn_mask is not None:
        numbers = _as_numbers(attn_mask, dtype)
        numbers = numbers.unsqueeze(1) if attn_mask.dim() == 3 else numbers  # (B, 1, T, S) or (T, S)
        mask = numbers if mask is None else mask + numbers
    return mask


def _as_numbers(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, torch.finfo(dtype).min / 2)


def with_extra_key(mask: Optional[Tensor]) -> Optional[Tensor]:
    """`mask` with one more key at the end that is never masked."""
    return None if mask is None else F.pad(mask, (0, 1))


def padding_mask(tokens: Tensor, padding_idx: int) -> tuple[Tensor, Optional[Tensor]]:
    """Where `tokens` (B, T) are padding: the mask, and the mask again if it has to be applied, else None.

    Asking whether there is any padding saves work on the CPU; on a GPU it would make the host wait, so there the mask
    is always applied.
    """
    mask = tokens.eq(padding_idx)
    return mask, applied(mask)


def applied(mask: Tensor) -> Optional[Tensor]:
    """`mask`, or None if it is known to mask nothing. An exported program cannot ask: it always applies the mask."""
    if mask.device.type != "cpu" or torch.compiler.is_exporting() or mask.any():
        return mask
    return None
