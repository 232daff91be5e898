"""What both kinds of constraint states have.

A state is immutable: `advance` gives the next one. Its bank is the number of constraint words that it has met, by which
dynamic beam allocation (Post and Vilar, arXiv:1804.06609) shares the beam among hypotheses.
"""

from abc import ABC, abstractmethod
from typing import Any


class ConstraintState(ABC):
    """How far a hypothesis has met its sentence's constraints."""

    @property
    @abstractmethod
    def bank(self) -> int:
        """Constraint words met."""

    @property
    @abstractmethod
    def num_completed(self) -> int:
        """Phrases met in whole."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether all phrases are met."""

    @abstractmethod
    def next_tokens(self) -> set[int]:
        """Words that would make progress."""

    @abstractmethod
    def advance(self, token: int) -> Any:
        """The state after `token`."""
