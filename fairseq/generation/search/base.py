"""What a search strategy is.

>>> from fairseq.data import Dictionary
>>> Search(Dictionary()).supports_constraints
False
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

Candidates = tuple[Tensor, Tensor, Tensor]


class Search(nn.Module):
    """Base of search strategies.

    Attributes:
        pad, unk, eos, vocab_size: of the target's dictionary.
        src_lengths: (B,), where the generator was asked for them (`needs_src_lengths`).
        supports_constraints: takes lexical constraints.
        stop_on_max_len: sentences without a finished hypothesis at the greatest length are given up without an error.
    """

    needs_src_lengths = False

    def __init__(self, tgt_dict: Any):
        super().__init__()
        self.pad = tgt_dict.pad()
        self.unk = tgt_dict.unk()
        self.eos = tgt_dict.eos()
        self.vocab_size = len(tgt_dict)
        self.src_lengths = torch.tensor(-1)
        self.supports_constraints = False
        self.stop_on_max_len = False

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        """The best continuations.

        Args:
            step: position of the next word, from 0.
            lprobs: (B, K, V), log-probabilities of the next word.
            scores: (B, K, step), sums of log-probabilities after each earlier word.
            prev_output_tokens: (B*K, step + 1), the words so far.
            original_batch_idxs: (B,), the sentences' numbers before any were finished.

        Returns:
            Sums of log-probabilities, words, and hypotheses (0 to K - 1) that they continue: (B, C) each, best first,
            with C at least K. Twice as many as hypotheses leave enough when K of them end the sentence.
        """
        raise NotImplementedError

    def set_src_lengths(self, src_lengths: Tensor) -> None:
        """Tell the lengths (B,) of the sources that are still searched."""
        self.src_lengths = src_lengths

    def init_constraints(self, batch_constraints: Optional[Tensor], beam_size: int) -> None:
        """Start a batch with packed constraints (B, N), see `pack_constraints`."""

    def prune_sentences(self, batch_idxs: Tensor) -> None:
        """Go on with these of the sentences only."""

    def update_constraints(self, active_hypos: Tensor) -> None:
        """Learn which candidates (B, K) of the last step became hypotheses."""


def cumulated(step: int, lprobs: Tensor, scores: Optional[Tensor]) -> Tensor:
    """Sums of log-probabilities (B, K, V); (B, 1, V) at the first step, where all hypotheses are the same."""
    if step == 0:
        return lprobs[:, :1]
    assert scores is not None
    return lprobs + scores[:, :, step - 1].unsqueeze(-1)


def best(totals: Tensor, count: int) -> Candidates:
    """The `count` best of `totals` (B, K, V): totals, words, hypotheses. One word less than there are at most, since
    padding is none."""
    words = totals.size(-1)
    flat = totals.flatten(1)
    values, places = top(flat, min(count, flat.size(1) - 1))
    return values, places % words, places // words


_BLOCK = 64


def top(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row of `x` (B, N) in order, and their places.

    On a CPU the maxima of blocks are compared first: only elements of the `count` blocks with the largest maxima can be
    among the `count` largest.

    >>> tuple(top(torch.tensor([[3.0, 9.0, 1.0, 7.0]]), 2))
    (tensor([[9., 7.]]), tensor([[1, 3]]))
    """
    rows, length = x.shape
    if x.device.type != "cpu" or length < 16 * _BLOCK * count:
        return x.topk(count, dim=1)  # type: ignore[return-value]
    whole = length // _BLOCK * _BLOCK
    blocks = x[:, :whole].unflatten(1, (-1, _BLOCK))
    number = blocks.amax(2).topk(count, dim=1, sorted=False).indices  # (B, count)
    places = (number.unsqueeze(2) * _BLOCK + torch.arange(_BLOCK)).flatten(1)  # (B, count * _BLOCK)
    if whole < length:
        places = torch.cat([places, torch.arange(whole, length).expand(rows, -1)], dim=1)
    values, chosen = x.gather(1, places).topk(count, dim=1)
    return values, places.gather(1, chosen)
