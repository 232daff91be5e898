"""Beam search with phrases that must occur, by dynamic beam allocation (Post and Vilar, arXiv:1804.06609; Hu et al.,
NAACL 2019).

Beside the best continuations, each hypothesis is continued with the words that its constraints need next. Candidates
are in banks by the number of constraint words that they have met; hypotheses are taken from all banks in turn, the
fullest bank first, the best of a bank first.
"""

import math
from itertools import groupby
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.generation.constraints.ordered import OrderedConstraintState
from fairseq.generation.constraints.state import ConstraintState
from fairseq.generation.constraints.unordered import UnorderedConstraintState
from fairseq.generation.search.base import Candidates, Search, best, cumulated

STATES: dict[str, Any] = {"ordered": OrderedConstraintState, "unordered": UnorderedConstraintState}


class LexicallyConstrainedBeamSearch(Search):
    """Beam search in which no hypothesis ends before it has met its constraints.

    Args:
        representation: "ordered" or "unordered" constraints.
    """

    def __init__(self, tgt_dict: Any, representation: str):
        super().__init__(tgt_dict)
        if representation not in STATES:
            raise ConfigError(f"constraints are ordered or unordered, not {representation!r}")
        self.representation = representation
        self.constraint_states: Optional[list[list[ConstraintState]]] = None  # [sentence][hypothesis]
        self.supports_constraints = True

    def init_constraints(self, batch_constraints: Optional[Tensor], beam_size: int) -> None:
        self.constraint_states = None
        if batch_constraints is not None:
            create = STATES[self.representation].create
            self.constraint_states = [[create(row)] * beam_size for row in batch_constraints]

    def prune_sentences(self, batch_idxs: Tensor) -> None:
        if self.constraint_states is not None:
            self.constraint_states = [self.constraint_states[sentence] for sentence in batch_idxs.tolist()]

    def update_constraints(self, active_hypos: Tensor) -> None:
        if self.constraint_states is not None:
            self.constraint_states = [
                [states[candidate] for candidate in chosen]
                for states, chosen in zip(self.constraint_states, active_hypos.tolist(), strict=True)
            ]

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> Candidates:
        beam_size = lprobs.size(1)
        if self.constraint_states is not None and step > 0:
            unmet = [[not state.finished for state in states] for states in self.constraint_states]
            lprobs[:, :, self.eos].masked_fill_(torch.tensor(unmet, device=lprobs.device), -math.inf)
        totals = cumulated(step, lprobs, scores)  # (B, K or 1, V)
        candidates = best(totals, 2 * beam_size)
        if self.constraint_states is None:
            return candidates
        favourites = totals.argmax(dim=2).tolist() if step else [[] for _ in self.constraint_states]
        parts = zip(
            totals.cpu(),
            self.constraint_states,
            candidates[1].tolist(),
            candidates[2].tolist(),
            favourites,
            strict=True,
        )
        chosen = [self._allocate(*each) for each in parts]
        self.constraint_states = [[state for *_, state in sentence] for sentence in chosen]
        values, words, beams = (
            torch.tensor([[candidate[part] for candidate in sentence] for sentence in chosen], device=lprobs.device)
            for part in range(3)
        )
        return values.to(lprobs.dtype), words, beams

    @staticmethod
    def _allocate(
        totals: Tensor, states: list[ConstraintState], words: list[int], beams: list[int], favourites: list[int]
    ) -> list[tuple[float, int, int, ConstraintState]]:
        """As many candidates (total, word, hypothesis, state) of one sentence as there are `words`.

        Args:
            totals: (K, V); (1, V) at the first step.
            states: of the hypotheses.
            words, beams: the best candidates.
            favourites: the best word after each hypothesis, (K,) or empty.
        """
        places = set(zip(beams, words, strict=True)) | set(enumerate(favourites))
        for beam in range(totals.size(0)):
            places |= {(beam, word) for word in states[beam].next_tokens()}
        ordered = sorted(places)
        where = torch.tensor(ordered)
        values = totals[where[:, 0], where[:, 1]].tolist()
        candidates = [
            (value, word, beam, states[beam].advance(word)) for value, (beam, word) in zip(values, ordered, strict=True)
        ]
        candidates.sort(key=lambda candidate: (-candidate[3].bank, -candidate[0]))
        banks = [list(bank) for _, bank in groupby(candidates, key=lambda candidate: candidate[3].bank)]
        in_turn = [bank[place] for place in range(max(map(len, banks))) for bank in banks if place < len(bank)]
        return in_turn[: len(words)]
