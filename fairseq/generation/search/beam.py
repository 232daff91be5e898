"""Beam search, and the same with lengths or words restricted.

>>> from fairseq.data import Dictionary
>>> words = Dictionary()
>>> lprobs = torch.log_softmax(torch.arange(8.0).view(1, 2, 4), dim=-1)
>>> BeamSearch(words).step(1, lprobs, torch.tensor([[[-0.1], [-2.0]]]))[1:]
(tensor([[3, 2, 3, 1]]), tensor([[0, 0, 1, 0]]))
"""

import math
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.generation.search.base import Candidates, Search, best, cumulated


class BeamSearch(Search):
    """The continuations with the largest sums of log-probabilities."""

    def __init__(self, tgt_dict: Any):
        super().__init__(tgt_dict)
        self.constraint_states = None

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
        candidate_multiple: int = 2,
    ) -> Candidates:
        """See `Search.step`; `candidate_multiple` candidates for each hypothesis."""
        return best(cumulated(step, lprobs, scores), candidate_multiple * lprobs.size(1))


class PrefixConstrainedBeamSearch(Search):
    """Beam search over the words that a function allows (Cao et al., arXiv:2010.00904, section 3.2).

    Args:
        prefix_allowed_tokens_fn: called with a sentence's number and the words so far (step + 1,); returns the words
            that may follow.
    """

    def __init__(self, tgt_dict: Any, prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]]):
        super().__init__(tgt_dict)
        self.prefix_allowed_tokens_fn = prefix_allowed_tokens_fn
        self.stop_on_max_len = True

    def apply_mask(self, x: Tensor, prev_output_tokens: Tensor, original_batch_idxs: Tensor) -> Tensor:
        """(B*K, 1, V) for `x` (B*K, 1, V): 0 where a word is allowed, else -inf."""
        beam_size = x.size(0) // original_batch_idxs.size(0)
        mask = torch.full_like(x, -math.inf)
        sentences = original_batch_idxs.tolist()
        for row, words in enumerate(prev_output_tokens):
            mask[row, :, self.prefix_allowed_tokens_fn(sentences[row // beam_size], words)] = 0
        return mask

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        assert prev_output_tokens is not None and original_batch_idxs is not None
        sentences, beam_size, words = lprobs.shape
        mask = self.apply_mask(lprobs.reshape(-1, 1, words), prev_output_tokens, original_batch_idxs)
        return best(cumulated(step, lprobs + mask.view(sentences, beam_size, words), scores), beam_size)


class LengthConstrainedBeamSearch(Search):
    """Beam search with hypotheses of min_len_a * S + min_len_b to max_len_a * S + max_len_b words, S: the source's."""

    needs_src_lengths = True

    def __init__(self, tgt_dict: Any, min_len_a: float, min_len_b: float, max_len_a: float, max_len_b: float):
        super().__init__(tgt_dict)
        self.min_len_a, self.min_len_b = min_len_a, min_len_b
        self.max_len_a, self.max_len_b = max_len_a, max_len_b
        self.beam = BeamSearch(tgt_dict)

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        too_short = step < self.min_len_a * self.src_lengths + self.min_len_b
        long_enough = step >= self.max_len_a * self.src_lengths + self.max_len_b
        ends = lprobs[:, :, self.eos]  # a view
        ends.masked_fill_(too_short.unsqueeze(1), -math.inf).masked_fill_(long_enough.unsqueeze(1), 0)
        return self.beam.step(step, lprobs, scores)
