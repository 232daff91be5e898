"""Beam search whose hypotheses differ more.

Siblings (Li et al., arXiv:1611.08562): the n-th best word after a hypothesis loses n * diversity_rate.

Groups (Vijayakumar et al., arXiv:1610.02424): hypotheses are in groups that choose one after the other; a word loses

    diversity_strength * sum over earlier groups h of (1 + overlap[g, h]) * (how often h chose the word at this step)

where overlap[g, h] counts earlier agreements of g's and h's candidates, older ones discounted.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.generation.search.base import Candidates, Search, top
from fairseq.generation.search.beam import BeamSearch


class DiverseSiblingsSearch(Search):
    """Penalizes continuations of one hypothesis by their rank among each other."""

    def __init__(self, tgt_dict: Any, diversity_rate: float):
        super().__init__(tgt_dict)
        self.diversity_rate = diversity_rate
        self.beam = BeamSearch(tgt_dict)

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        if step == 0:
            return self.beam.step(step, lprobs, scores)
        assert scores is not None
        sentences, beam_size, words = lprobs.shape
        count = min(2 * beam_size, words - 1)
        totals = (lprobs + scores[:, :, step - 1].unsqueeze(-1)).flatten(0, 1)
        siblings, places = top(totals, count)  # (B*K, count), best first
        rank = torch.arange(1, count + 1, device=lprobs.device)
        siblings = (siblings - rank * self.diversity_rate).view(sentences, -1)
        values, chosen = siblings.topk(count, dim=1)
        return values, places.view(sentences, -1).gather(1, chosen), chosen // count


class DiverseBeamSearch(Search):
    """Groups of hypotheses that avoid each other's words.

    Args:
        num_groups: must divide the beam.
        diversity_strength: what a word loses for each time an earlier group chose it.
        diversity_discount: weight of older agreements of two groups.
        candidate_multiple: candidates for each hypothesis of a group.
    """

    def __init__(
        self,
        tgt_dict: Any,
        num_groups: int,
        diversity_strength: float,
        diversity_discount: float = 1.0,
        candidate_multiple: int = 1,
    ):
        super().__init__(tgt_dict)
        self.num_groups = num_groups
        self.diversity_strength = -diversity_strength
        self.diversity_discount = diversity_discount
        self.candidate_multiple = candidate_multiple
        self.beam = BeamSearch(tgt_dict)
        self.group_overlap = torch.empty(0)  # (B, G, G)

    def prune_sentences(self, batch_idxs: Tensor) -> None:
        self.group_overlap = self.group_overlap.index_select(0, batch_idxs)

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        sentences, beam_size, words = lprobs.shape
        groups = self.num_groups
        if beam_size % groups:
            raise ConfigError(
                f"DiverseBeamSearch requires --beam to be divisible by the number of groups: {beam_size} hypotheses,"
                f" {groups} groups"
            )
        if step == 0:
            self.group_overlap = lprobs.new_zeros(sentences, groups, groups)
        chosen: list[Candidates] = []
        for group in range(groups):
            own = lprobs[:, group::groups]
            if group:
                penalty = lprobs.new_zeros(sentences, words)
                for earlier, (_, candidates, _) in enumerate(chosen):
                    weight = 1 + self.group_overlap[:, group, earlier].unsqueeze(1)
                    penalty.scatter_add_(1, candidates, weight.expand_as(candidates))
                own = own + self.diversity_strength * penalty.unsqueeze(1)
            sums = None if scores is None else scores[:, group::groups]
            values, candidates, beams = self.beam.step(step, own, sums, candidate_multiple=self.candidate_multiple)
            chosen.append((values, candidates, beams * groups + group))
        self._count_agreements(torch.stack([candidates for _, candidates, _ in chosen], dim=1))
        values, candidates, beams = (torch.stack(parts, dim=2).flatten(1) for parts in zip(*chosen, strict=True))
        return values, candidates, beams

    def _count_agreements(self, candidates: Tensor) -> None:
        """Update the overlaps with the groups' candidates (B, G, C) of a step."""
        same = candidates.unsqueeze(2).eq(candidates.unsqueeze(1)).sum(-1)  # (B, G, G)
        self.group_overlap = self.diversity_discount * (self.group_overlap + same)
