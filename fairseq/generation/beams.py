"""What is known of hypotheses while they are continued.

B: sentences searched, K: hypotheses of each, in succession, N = B * K: rows, S: source length, M: most words.
"""

from typing import Optional

import torch
from torch import Tensor


class Beams:
    """Rows of hypotheses.

    Attributes:
        tokens: (N, M + 2), from the beginning-of-sentence symbol on, then padding.
        scores: (N, M + 1), sums of log-probabilities after each word.
        ignore: (B, K), hypotheses that were given up, since a sentence had too few ways to go on.
    """

    def __init__(self, sentences: int, size: int, max_len: int, first: int, pad: int, device: torch.device):
        rows = sentences * size
        self.size = size
        self.max_len = max_len
        self.tokens = torch.full((rows, max_len + 2), pad, dtype=torch.long, device=device)
        self.tokens[:, 0] = first
        self.scores = torch.zeros(rows, max_len + 1, device=device)
        self.ignore = torch.zeros(sentences, size, dtype=torch.bool, device=device)
        self._attention: Optional[Tensor] = None  # (M + 2, N, S): to arrange rows anew, whole slices are copied

    @property
    def attn(self) -> Optional[Tensor]:
        """(N, S, M + 2), attention to the source when each token was generated."""
        return None if self._attention is None else self._attention.permute(1, 2, 0)

    def note_attention(self, step: int, newest: Optional[Tensor]) -> None:
        """Keep attention (N, S) of the word after `step`."""
        if newest is None:
            return
        if self._attention is None:
            self._attention = newest.new_zeros(self.max_len + 2, *newest.shape)
        self._attention[step + 1] = newest

    def rows(self, beams: Tensor) -> Tensor:
        """Rows of hypotheses given by their number in their sentence, (B, C)."""
        return beams + torch.arange(beams.size(0), device=beams.device).unsqueeze(1) * self.size

    def keep(self, sentences: Tensor) -> None:
        """Go on with these of the sentences."""
        rows = self.rows(torch.arange(self.size, device=sentences.device).expand(self.ignore.size(0), -1))
        rows = rows[sentences].view(-1)
        self.tokens, self.scores, self.ignore = self.tokens[rows], self.scores[rows], self.ignore[sentences]
        if self._attention is not None:
            self._attention = self._attention.index_select(1, rows)

    def advance(self, step: int, order: Tensor, words: Tensor, scores: Tensor) -> None:
        """Continue rows `order` (N,) with `words` (N,) after `step`, which brings the sums to `scores` (N,)."""
        self.tokens[:, : step + 1] = self.tokens[:, : step + 1].index_select(0, order)
        self.tokens[:, step + 1] = words
        self.scores[:, :step] = self.scores[:, :step].index_select(0, order)
        self.scores[:, step] = scores
        if self._attention is not None:
            self._attention[: step + 2] = self._attention[: step + 2].index_select(1, order)
