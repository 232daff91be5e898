"""What may come next: log-probabilities without what a setting, the length or a prefix forbids.

N: rows (sentences * beam), V: words, P: words of the prefix. Log-probabilities are changed in place.

>>> without_nan(torch.full((2, 4), math.nan), beam_size=2)
(tensor([[-inf, -inf, -inf, -inf],
        [-inf, -inf, -inf, -inf]]), tensor([True]))
>>> replicate_first_beam(torch.tensor([[1], [2], [3], [4]]), torch.tensor([True, False]), 2).tolist()
[[1], [1], [3], [4]]
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.generation.beams import Beams


def restrict(generator: Any, step: int, lprobs: Tensor, beams: Beams, prefix_tokens: Optional[Tensor]) -> Tensor:
    """Log-probabilities (N, V) of what may come next, by the settings of a `SequenceGenerator`. A prefix may change
    tokens and scores, too."""
    max_len, eos = beams.max_len, generator.eos
    lprobs[:, generator.pad] = -math.inf
    if generator.unk_penalty != 0:
        lprobs[:, generator.unk] -= generator.unk_penalty
    if step >= max_len:
        lprobs[:, :eos] = -math.inf
        lprobs[:, eos + 1 :] = -math.inf
    if prefix_tokens is not None and step < prefix_tokens.size(1) and step < max_len:
        lprobs, beams.tokens, beams.scores = generator._prefix_tokens(
            step, lprobs, beams.scores, beams.tokens, prefix_tokens, generator.beam_size
        )
    else:
        if step < generator.min_len:
            lprobs[:, eos] = -math.inf
        if generator.token_indices_to_suppress is not None:
            lprobs[:, generator.token_indices_to_suppress] = -math.inf
    if generator.repeat_ngram_blocker is not None:
        sentences = lprobs.size(0) // generator.beam_size
        lprobs = generator.repeat_ngram_blocker(beams.tokens, lprobs, sentences, generator.beam_size, step)
    return lprobs


def follow_prefix(
    step: int, lprobs: Tensor, scores: Tensor, tokens: Tensor, prefix_tokens: Tensor, beam_size: int, pad: int, eos: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Leave only the next word of the prefix (B, P), where there is one. Where it is the end, hypotheses become copies
    of their sentence's first. Returns log-probabilities, tokens and scores."""
    due = prefix_tokens[:, step].repeat_interleave(beam_size).unsqueeze(1)  # (N, 1)
    given = due.ne(pad)
    only = torch.full_like(lprobs, -math.inf).scatter_(1, due, lprobs.gather(1, due))
    lprobs = torch.where(given, only, lprobs)
    ends = due.squeeze(1).eq(eos)
    if ends.any():
        mask = ends.view(-1, beam_size)[:, 0]
        tokens, scores, lprobs = (replicate_first_beam(x, mask, beam_size) for x in (tokens, scores, lprobs))
    return lprobs, tokens, scores


def replicate_first_beam(tensor: Tensor, mask: Tensor, beam_size: int) -> Tensor:
    """`tensor` (N, ...) with the rows of sentences in `mask` (B,) replaced by the first of them."""
    tensor = tensor.view(-1, beam_size, tensor.size(-1))
    tensor[mask] = tensor[mask][:, :1, :]
    return tensor.view(-1, tensor.size(-1))


def without_nan(lprobs: Tensor, beam_size: int) -> tuple[Tensor, Optional[Tensor]]:
    """-inf in place of NaN, in place, and the sentences (B,) that have nothing else; None where there is no NaN."""
    if lprobs.device.type == "cpu" and not lprobs.sum().isnan():  # a pass that only reads is cheap
        return lprobs, None
    broken = lprobs.isnan().unflatten(0, (-1, beam_size)).flatten(1).all(dim=1)
    return lprobs.nan_to_num_(nan=-math.inf, posinf=math.inf, neginf=-math.inf), broken
