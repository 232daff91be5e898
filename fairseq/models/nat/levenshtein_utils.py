"""Words that are deleted and inserted: what to learn, and how sentences change (Gu et al., arXiv:1905.11006).

Sentences are rows of ids with padding behind them. Between each two tokens of a sentence is a gap; `path` says what
turns a sentence into another with the fewest deletions and insertions.

>>> gone, gaps = path(torch.tensor([[0, 5, 6, 7, 2]]), torch.tensor([[0, 6, 8, 7, 2, 1]]), 1)
>>> gone.int().tolist(), gaps[0]                        # 5 is deleted, 8 inserted behind 6
([[0, 1, 0, 0, 0]], [[], [], [], [8], [], []])
"""

from typing import Any, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def load_libnat() -> tuple[Any, bool]:
    """fairseq's compiled extension; there is none here, and nothing needs it."""
    return None, False


def path(source: Tensor, target: Tensor, padding_idx: int) -> tuple[Tensor, list[list[list[int]]]]:
    """How each row of `source` (B, S) becomes that of `target` (B, T), with the fewest deletions and insertions.

    Of several ways, words are inserted as early as can be.

    Returns:
        Where words are deleted, (B, S), and for each row the words that are inserted in front of each word and at the
        end, S + 1 lists.
    """
    rows, columns = source.cpu().numpy(), target.cpu().numpy()
    deleted = np.zeros(rows.shape, dtype=bool)
    inserted = []
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        x, y = row[row != padding_idx], column[column != padding_idx]
        gaps: list[list[int]] = [[] for _ in range(rows.shape[1] + 1)]
        distance = _distances(x, y)
        i, j = len(x), len(y)
        while i or j:
            if j and distance[i, j] == distance[i, j - 1] + 1:
                j -= 1
                gaps[i].insert(0, int(y[j]))
            elif i and distance[i, j] == distance[i - 1, j] + 1:
                i -= 1
                deleted[number, i] = True
            else:
                i, j = i - 1, j - 1
        inserted.append(gaps)
    return torch.from_numpy(deleted).to(source.device), inserted


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(len(x) + 1, len(y) + 1): deletions and insertions between the beginnings of two sequences."""
    steps = np.arange(len(y) + 1)
    distance = np.empty((len(x) + 1, len(y) + 1), dtype=np.int64)
    distance[0] = steps
    for i, word in enumerate(x, start=1):
        best = distance[i - 1] + 1
        best[1:] = np.minimum(best[1:], np.where(y == word, distance[i - 1, :-1], best[1:]))
        distance[i] = np.minimum.accumulate(best - steps) + steps  # insertions from the left
    return distance


def _get_ins_targets(
    in_tokens: Tensor, out_tokens: Tensor, padding_idx: int, unk_idx: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What a model learns to insert into `in_tokens` (B, S), whose words are all in `out_tokens` (B, T).

    Returns:
        Which words of the target are missing, (B, T); the target with placeholders for them, (B, T); how many words
        are missing in each gap, (B, S - 1).
    """
    _, gaps = path(in_tokens, out_tokens, padding_idx)
    counts = torch.tensor([[len(words) for words in row[1:-1]] for row in gaps], device=in_tokens.device)
    missing = torch.zeros_like(out_tokens, dtype=torch.bool)
    for row, number in zip(missing, counts.tolist(), strict=True):
        flags = [False] + [flag for count in number for flag in [True] * count + [False]]
        row[: len(flags)] = torch.tensor(flags[: len(row)])
    missing &= out_tokens.ne(padding_idx)
    return missing, out_tokens.masked_fill(missing, unk_idx), counts


def _get_del_targets(in_tokens: Tensor, out_tokens: Tensor, padding_idx: int) -> Tensor:
    """Where words of `in_tokens` (B, S) are not wanted in `out_tokens` (B, T): 0 and 1, (B, T)."""
    deleted, _ = path(in_tokens, out_tokens, padding_idx)
    return F.pad(deleted.long(), (0, max(0, out_tokens.size(1) - in_tokens.size(1))))[:, : out_tokens.size(1)]


def _apply_ins_masks(
    in_tokens: Tensor,
    in_scores: Optional[Tensor],
    mask_ins_pred: Tensor,
    padding_idx: int,
    unk_idx: int,
    eos_idx: int,
) -> tuple[Tensor, Optional[Tensor]]:
    """Sentences (B, S), with `mask_ins_pred` (B, S - 1) placeholders in their gaps, whose scores are 0."""
    in_masks = in_tokens.ne(padding_idx)
    steps = mask_ins_pred.masked_fill(~in_masks[:, 1:], 0) + 1
    lengths = in_masks.sum(1) + (steps - 1).sum(1)
    out = torch.arange(int(lengths.max()), device=in_tokens.device) < lengths[:, None]
    out_tokens = torch.full(out.shape, padding_idx, dtype=in_tokens.dtype, device=in_tokens.device)
    out_tokens = out_tokens.masked_fill(out, unk_idx)
    places = F.pad(steps.cumsum(1), (1, 0)).clamp(max=out.size(1) - 1)
    # padding goes to a column that is cut off again
    places = places.masked_fill(~in_masks, out.size(1))
    out_tokens = F.pad(out_tokens, (0, 1)).scatter(1, places, in_tokens)[:, :-1]
    if in_scores is None:
        return out_tokens, None
    scores = in_scores.new_zeros(out.size(0), out.size(1) + 1).scatter(1, places, in_scores)
    return out_tokens, scores[:, :-1]


def _apply_ins_words(
    in_tokens: Tensor, in_scores: Optional[Tensor], word_ins_pred: Tensor, word_ins_scores: Tensor, unk_idx: int
) -> tuple[Tensor, Optional[Tensor]]:
    """Sentences (B, T), with predicted words, and their scores, in place of placeholders."""
    places = in_tokens.eq(unk_idx)
    scores = None if in_scores is None else torch.where(places, word_ins_scores, in_scores)
    return torch.where(places, word_ins_pred, in_tokens), scores


def _apply_del_words(
    in_tokens: Tensor,
    in_scores: Optional[Tensor],
    in_attn: Optional[Tensor],
    word_del_pred: Tensor,
    padding_idx: int,
    bos_idx: int,
    eos_idx: int,
) -> tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
    """Sentences (B, T), their scores (B, T) and attention (B, T, S) without the words of `word_del_pred` (B, T).

    Begin and end of a sentence stay. What is left moves to the front.
    """
    kept = in_tokens.ne(padding_idx) & ~(word_del_pred.bool() & in_tokens.ne(bos_idx) & in_tokens.ne(eos_idx))
    order = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices
    gone = ~kept.gather(1, order)
    out_tokens = in_tokens.gather(1, order).masked_fill(gone, padding_idx)
    out_scores = None if in_scores is None else in_scores.gather(1, order).masked_fill(gone, 0)
    out_attn = None
    if in_attn is not None:
        out_attn = in_attn.gather(1, order.unsqueeze(-1).expand_as(in_attn)).masked_fill(gone.unsqueeze(-1), 0)
    return out_tokens, out_scores, out_attn


def _skip(x: Any, mask: Tensor) -> Any:
    """The rows of a tensor, or of tensors in a list or dict, whose `mask` (B) is true; of two dimensions, the one as
    long as the mask is taken."""
    if x is None or mask.all():
        return x
    if isinstance(x, torch.Tensor):
        if x.size(0) == mask.size(0):
            return x[mask]
        if x.dim() > 1 and x.size(1) == mask.size(0):
            return x[:, mask]
        return x
    if isinstance(x, list):
        return [_skip(item, mask) for item in x]
    if isinstance(x, dict):
        return {key: _skip(value, mask) for key, value in x.items()}
    raise TypeError(f"cannot take rows of a {type(x).__name__}")


def _skip_encoder_out(encoder: Any, encoder_out: Any, mask: Tensor) -> Any:
    """An encoder's output for the sentences whose `mask` (B) is true."""
    if mask.all():
        return encoder_out
    return encoder.reorder_encoder_out(encoder_out, mask.nonzero(as_tuple=False).squeeze(1))


def _fill(x: Optional[Tensor], mask: Tensor, y: Optional[Tensor], padding_idx: float) -> Optional[Tensor]:
    """`x` (B, T, ...) with the rows of `y` where `mask` (B) is true; the shorter one is padded."""
    if x is None or y is None:
        return y if x is None else x
    assert x.dim() == y.dim() and mask.size(0) == x.size(0)
    width = max(x.size(1), y.size(1))
    rest = (0, 0) * (x.dim() - 2)
    out = F.pad(x, (*rest, 0, width - x.size(1)), value=padding_idx)
    out[mask] = F.pad(y, (*rest, 0, width - y.size(1)), value=padding_idx)
    return out
