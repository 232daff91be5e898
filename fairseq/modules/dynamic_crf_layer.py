"""A random field over neighbouring words of a sentence, with transitions of low rank (Sun et al., arXiv:1910.11555).

    log p(y) = sum_t e_t[y_t] + sum_t E1[y_(t-1)] . E2[y_t] - log Z

The normalizer Z and the likeliest sentence are those of the `beam_size` words with the highest emissions `e` at each
position; training adds the right word to them.

>>> field = DynamicCRF(num_embedding=7, low_rank=3, beam_size=7)
>>> emissions, words = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
>>> field(emissions, words, None).shape, field.forward_decoder(emissions)[1].shape
(torch.Size([2]), torch.Size([2, 5]))
"""

from typing import Optional

import torch
from torch import Tensor, nn


def logsumexp(x: Tensor, dim: int = 1) -> Tensor:
    """log sum exp, in fp32."""
    return torch.logsumexp(x.float(), dim=dim).type_as(x)


class DynamicCRF(nn.Module):
    """The field.

    Args:
        num_embedding: words.
        low_rank: of the matrix of transitions.
        beam_size: words of each position that are looked at.
    """

    def __init__(self, num_embedding: int, low_rank: int = 32, beam_size: int = 64):
        super().__init__()
        self.E1 = nn.Embedding(num_embedding, low_rank)
        self.E2 = nn.Embedding(num_embedding, low_rank)
        self.vocb, self.rank, self.beam = num_embedding, low_rank, beam_size

    def extra_repr(self) -> str:
        return f"vocab_size={self.vocb}, low_rank={self.rank}, beam_size={self.beam}"

    def forward(
        self, emissions: Tensor, targets: Tensor, masks: Optional[Tensor], beam: Optional[int] = None
    ) -> Tensor:
        """Log probabilities (B) of sentences.

        Args:
            emissions: (B, T, V).
            targets: the words, (B, T).
            masks: (B, T), true where there is a word.
            beam: in place of `beam_size`.
        """
        return self._compute_score(emissions, targets, masks) - self._compute_normalizer(
            emissions, targets, masks, beam
        )

    def forward_decoder(
        self, emissions: Tensor, masks: Optional[Tensor] = None, beam: Optional[int] = None
    ) -> tuple[Tensor, Tensor]:
        """Scores (B, T), which add up to that of the sentence, and words (B, T) of the likeliest sentences."""
        return self._viterbi_decode(emissions, masks, beam)

    def _compute_score(self, emissions: Tensor, targets: Tensor, masks: Optional[Tensor] = None) -> Tensor:
        scores = emissions.gather(2, targets[:, :, None])[:, :, 0]  # (B, T)
        transitions = (self.E1(targets[:, :-1]) * self.E2(targets[:, 1:])).sum(2)
        scores = torch.cat([scores[:, :1], scores[:, 1:] + transitions], dim=1)
        return (scores if masks is None else scores * masks.type_as(scores)).sum(-1)

    def _beam(self, emissions: Tensor, ranked: Tensor, beam: Optional[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Words (B, T, K) that are looked at, their emissions, and transitions between them (B, T - 1, K, K)."""
        words = ranked.topk(min(beam or self.beam, emissions.size(-1)), 2)[1]
        transitions = self.E1(words[:, :-1]) @ self.E2(words[:, 1:]).transpose(2, 3)
        return words, emissions.gather(2, words), transitions

    def _compute_normalizer(
        self,
        emissions: Tensor,
        targets: Optional[Tensor] = None,
        masks: Optional[Tensor] = None,
        beam: Optional[int] = None,
    ) -> Tensor:
        ranked = emissions
        if targets is not None:
            ranked = emissions.scatter(2, targets[:, :, None], float("inf"))
        _, scores, transitions = self._beam(emissions, ranked, beam)
        total = scores[:, 0]  # (B, K)
        for i in range(1, scores.size(1)):
            longer = logsumexp(total[:, :, None] + transitions[:, i - 1], dim=1) + scores[:, i]
            total = longer if masks is None else torch.where(masks[:, i : i + 1], longer, total)
        return logsumexp(total, dim=1)

    def _viterbi_decode(
        self, emissions: Tensor, masks: Optional[Tensor] = None, beam: Optional[int] = None
    ) -> tuple[Tensor, Tensor]:
        words, scores, transitions = self._beam(emissions, emissions, beam)
        best = scores[:, 0]  # (B, K), of sentences that end in each word
        stay = torch.arange(best.size(1), device=best.device).expand_as(best)
        totals, origins = [best], []
        for i in range(1, scores.size(1)):
            longer, origin = (best[:, :, None] + transitions[:, i - 1]).max(dim=1)
            longer = longer + scores[:, i]
            if masks is not None:
                here = masks[:, i : i + 1]
                longer, origin = torch.where(here, longer, best), torch.where(here, origin, stay)
            best = longer
            totals.append(best)
            origins.append(origin)
        place = best.max(dim=1)[1][:, None]  # (B, 1)
        places = [place]
        for origin in reversed(origins):
            place = origin.gather(1, place)
            places.insert(0, place)
        chosen = torch.stack(places, dim=1)  # (B, T, 1)
        path = torch.stack(totals, dim=1).gather(2, chosen)[:, :, 0]
        steps = torch.cat([path[:, :1], path[:, 1:] - path[:, :-1]], dim=1)
        return steps, words.gather(2, chosen)[:, :, 0]
