"""Constraints that must be met in the order in which they are given: a place in one sequence of words.

>>> import torch
>>> from fairseq.generation.constraints import pack_constraints
>>> state = OrderedConstraintState.create(pack_constraints([[torch.tensor([4, 5]), torch.tensor([6])]])[0])
>>> [str(state := state.advance(token)) for token in (4, 9, 4, 5, 9, 6)]
['0/1x0', '-1/0x0', '0/1x0', '1/2x1', '1/2x1', '2/3x2']
>>> state.finished
True
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from fairseq.generation.constraints import unpack_constraints
from fairseq.generation.constraints.state import ConstraintState


class ConstraintSequence:
    """Phrases one after the other.

    Attributes:
        sequences: their words in one list.
        endpoints: for each word, whether a phrase ends with it.
        num_tokens: how many words.
        tokens: which words.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]):
        self.sequences = [int(token) for sequence in sequences for token in sequence]
        self.endpoints = [place == len(sequence) - 1 for sequence in sequences for place in range(len(sequence))]
        self.num_tokens = len(self.sequences)
        self.tokens = set(self.sequences)

    def __getitem__(self, key: int) -> int:
        return self.sequences[key]

    def __len__(self) -> int:
        return len(self.sequences)

    def __str__(self) -> str:
        return str(self.sequences)


class OrderedConstraintState(ConstraintState):
    """The place in `sequence` of the last word met; -1 before the first."""

    def __init__(self, sequence: ConstraintSequence, state: int = -1):
        self.sequence = sequence
        self.state = state

    @staticmethod
    def create(constraint_tensor: Tensor) -> "OrderedConstraintState":
        """The first state for a packed row (N,)."""
        return OrderedConstraintState(ConstraintSequence([p.tolist() for p in unpack_constraints(constraint_tensor)]))

    def __str__(self) -> str:
        return f"{self.state}/{self.bank}x{self.num_completed}"

    def __copy__(self) -> "OrderedConstraintState":
        return OrderedConstraintState(self.sequence, self.state)

    def copy(self) -> "OrderedConstraintState":
        return self.__copy__()

    @property
    def num_completed(self) -> int:
        return sum(self.sequence.endpoints[: self.state + 1])

    @property
    def is_root(self) -> bool:
        return self.state == -1

    @property
    def name(self) -> str:
        return "ROOT" if self.is_root else str(self.sequence[self.state])

    @property
    def bank(self) -> int:
        return self.state + 1

    @property
    def finished(self) -> bool:
        return self.state + 1 == len(self.sequence)

    @property
    def token_counts(self) -> "Counter[int]":
        return Counter(self.sequence.sequences)

    @property
    def tokens(self) -> set[int]:
        return self.sequence.tokens

    @property
    def num_constraint_tokens(self) -> int:
        return len(self.sequence)

    def next_tokens(self) -> set[int]:
        tokens = set()
        if self.state > 0:
            tokens.add(self.sequence[0])
        if not self.finished:
            tokens.add(self.sequence[self.state + 1])
        return tokens

    def advance(self, token: int) -> "OrderedConstraintState":
        """One place further with the word that is due. With another one, back to the start, unless the last word ended
        a phrase."""
        token = int(token)
        if self.finished:
            place = self.state
        elif token == self.sequence[self.state + 1]:
            place = self.state + 1
        elif self.state >= 0 and self.sequence.endpoints[self.state]:
            place = self.state
        else:
            place = 0 if token == self.sequence[0] else -1
        return OrderedConstraintState(self.sequence, place)
