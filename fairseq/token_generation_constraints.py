"""Phrases that translations must contain; see `fairseq.generation.constraints`."""

from fairseq.generation.constraints import pack_constraints, unpack_constraints
from fairseq.generation.constraints.ordered import ConstraintSequence, OrderedConstraintState
from fairseq.generation.constraints.state import ConstraintState
from fairseq.generation.constraints.unordered import ConstraintNode, UnorderedConstraintState

__all__ = [
    "ConstraintNode",
    "ConstraintSequence",
    "ConstraintState",
    "OrderedConstraintState",
    "UnorderedConstraintState",
    "pack_constraints",
    "unpack_constraints",
]
