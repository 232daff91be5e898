"""Words drawn by their probabilities, from all, from the k most likely (Fan et al., arXiv:1805.04833) or from the
fewest whose probabilities reach p (Holtzman et al., arXiv:1904.09751).
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.generation.search.base import Candidates, Search


class Sampling(Search):
    """Draws each hypothesis by itself; they do not compete.

    Args:
        sampling_topk: draw from this many words, if positive.
        sampling_topp: draw from the words that hold this probability, if positive.
    """

    def __init__(self, tgt_dict: Any, sampling_topk: int = -1, sampling_topp: float = -1.0):
        super().__init__(tgt_dict)
        if sampling_topp > 1:
            raise ConfigError(f"sampling_topp is a probability, from 0 to 1, not {sampling_topp}")
        self.sampling_topk = sampling_topk
        self.sampling_topp = sampling_topp

    def _sample_topp(self, lprobs: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, best first and 0 beyond the mass p, and the words: (B, K, N) each, N as many as needed."""
        probs, words = lprobs.exp().sort(dim=-1, descending=True)
        inside = (probs.cumsum(dim=-1) < self.sampling_topp).sum(dim=-1, keepdim=True)  # the next word reaches it
        inside = inside.clamp(max=probs.size(-1) - 1)
        width = int(inside.max()) + 1
        probs, words = probs[..., :width], words[..., :width]
        beyond = torch.arange(width, device=probs.device) > inside
        return probs.masked_fill(beyond, 0), words

    def _choices(self, lprobs: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        """Probabilities (B, K, N) to draw from, and the words they belong to where that is not all of them."""
        if self.sampling_topp > 0:
            return self._sample_topp(lprobs)
        if self.sampling_topk > 0:
            values, words = lprobs.topk(min(self.sampling_topk, lprobs.size(-1)))
            return values.exp(), words
        return lprobs.exp(), None

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        sentences, beam_size, _ = lprobs.shape
        if step == 0:
            lprobs = lprobs[:, :1].contiguous()
        probs, words = self._choices(lprobs)
        draws = beam_size if step == 0 else 1
        chosen = torch.multinomial(probs.flatten(0, 1), draws, replacement=True).view(sentences, beam_size, 1)
        if step == 0:
            lprobs = lprobs.expand(-1, beam_size, -1)
            words = None if words is None else words.expand(-1, beam_size, -1)
        drawn = (chosen if words is None else words.gather(2, chosen)).squeeze(2)  # (B, K)
        values = lprobs.gather(2, drawn.unsqueeze(2)).squeeze(2)
        if step:
            assert scores is not None
            values = values + scores[:, :, step - 1]
            beams = torch.arange(beam_size, device=drawn.device).expand_as(drawn)
        else:
            beams = torch.zeros_like(drawn)
        return values, drawn, beams
