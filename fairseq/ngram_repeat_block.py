"""Forbids words that would repeat an n-gram of their own hypothesis.

>>> tokens = torch.tensor([[2, 5, 6, 5]])
>>> NGramRepeatBlock(2)(tokens, torch.zeros(1, 8), bsz=1, beam_size=1, step=3)
tensor([[0., 0., 0., 0., 0., 0., -inf, 0.]])
"""

import math

import torch
from torch import Tensor, nn


class NGramRepeatBlock(nn.Module):
    """Sets log-probabilities of words that would complete a known n-gram to -inf.

    Args:
        no_repeat_ngram_size: n.
        use_extension: accepted for the sake of the interface; this is tensor operations on any device.
    """

    def __init__(self, no_repeat_ngram_size: int, use_extension: bool = True):
        super().__init__()
        self.no_repeat_ngram_size = no_repeat_ngram_size

    def forward(self, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
        """`lprobs` (B*K, V), changed in place.

        Args:
            tokens: (B*K, step + 1 or more), the words so far, from the beginning-of-sentence symbol on.
            step: position of the word that `lprobs` are of.
        """
        size = self.no_repeat_ngram_size
        if step + 1 < max(size, 2):
            return lprobs
        first = 1 if size == 1 else 0  # the symbol that begins a hypothesis may end it
        known = tokens[:, first : step + 1].unfold(1, size, 1)  # (B*K, step + 2 - n, n)
        last = tokens[:, step + 2 - size : step + 1].unsqueeze(1)  # (B*K, 1, n - 1)
        repeats = known[:, :, :-1].eq(last).all(2)
        # what follows a repeated beginning; elsewhere, a column behind the words
        words = known[:, :, -1].where(repeats, torch.full_like(known[:, :, -1], lprobs.size(1)))
        forbidden = lprobs.new_zeros(lprobs.size(0), lprobs.size(1) + 1).scatter_(1, words, -math.inf)
        return lprobs.add_(forbidden[:, :-1])
