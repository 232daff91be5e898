"""Constraints that may be met in any order: a node in a trie of all phrases (Hu et al., NAACL 2019, section 3), and
what has been met before.

>>> import torch
>>> from fairseq.generation.constraints import pack_constraints
>>> state = UnorderedConstraintState.create(pack_constraints([[torch.tensor([4, 5]), torch.tensor([6])]])[0])
>>> [(state := state.advance(token)).name for token in (6, 4, 9, 4, 5)]
['6', '4', 'ROOT', '4', '5']
>>> state.finished, state.bank
(True, 3)
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Optional

from torch import Tensor

from fairseq.generation.constraints import unpack_constraints
from fairseq.generation.constraints.state import ConstraintState


class ConstraintNode:
    """A node of the trie: the words from the root down to it begin `num_constraints` phrases and are `terminal`.

    Attributes:
        token: the word; None at the root.
        terminal: how many phrases end here.
        num_constraints: how many phrases pass through or end here.
    """

    def __init__(self, token: Optional[int] = None, parent: Optional["ConstraintNode"] = None):
        self.token = None if token is None else int(token)
        self.parent = parent
        self.terminal = 0
        self.children: dict[int, ConstraintNode] = {}
        self.num_constraints = 0

    @property
    def id(self) -> Optional[int]:
        return self.token

    def __str__(self) -> str:
        return f"[{self.token}].{self.terminal != 0}#{self.num_constraints}"

    def __getitem__(self, key: int) -> Optional["ConstraintNode"]:
        return self.children.get(key)

    def next_tokens(self) -> set[int]:
        return set(self.children)

    @staticmethod
    def create(constraints: Iterable[Sequence[int]]) -> "ConstraintNode":
        """The root of a trie of the phrases."""
        root = ConstraintNode()
        for sequence in constraints:
            root.add_sequence(sequence)
        return root

    @staticmethod
    def print_graph(node: "ConstraintNode") -> str:
        """The trie below `node` in one line."""
        if not node.children:
            return str(node)
        return f"({' '.join([str(node), *map(ConstraintNode.print_graph, node.children.values())])})"

    def token_counts(self) -> "Counter[int]":
        """How often each word occurs in the phrases."""
        counts: Counter[int] = Counter()
        waiting = list(self.children.values())
        while waiting:
            node = waiting.pop(0)
            assert node.token is not None
            counts[node.token] += node.num_constraints
            waiting += node.children.values()
        return counts

    def tokens(self) -> set[int]:
        return set(self.token_counts())

    def add_sequence(self, sequence: Sequence[int]) -> None:
        """Add a phrase below this node."""
        assert len(sequence) > 0, "a phrase has words"
        node = self
        node.num_constraints += 1
        for token in map(int, sequence):
            node = node.children.setdefault(token, ConstraintNode(token, parent=node))
            node.num_constraints += 1
        node.terminal += 1


class UnorderedConstraintState(ConstraintState):
    """A node, and how often nodes have been passed (`generated`) and phrases met (`completed`, at terminal nodes)."""

    def __init__(self, node: ConstraintNode, copy_from: Optional["UnorderedConstraintState"] = None):
        self.node = node
        if copy_from is None:
            self.root = node
            self.completed: Counter[ConstraintNode] = Counter()
            self.generated: Counter[ConstraintNode] = Counter()
            self.needed_tokens = node.tokens()
        else:
            self.root = copy_from.root
            self.completed = Counter(copy_from.completed)
            self.generated = Counter(copy_from.generated)
            self.needed_tokens = copy_from.needed_tokens

    @staticmethod
    def create(constraint_tensor: Tensor) -> "UnorderedConstraintState":
        """The first state for a packed row (N,)."""
        phrases = [phrase.tolist() for phrase in unpack_constraints(constraint_tensor)]
        return UnorderedConstraintState(ConstraintNode.create(phrases))

    def __str__(self) -> str:
        nodes = ",".join(map(str, self.generated))
        return f"{self.name}/{self.bank}({nodes})x{self.num_completed}"

    def __copy__(self) -> "UnorderedConstraintState":
        return UnorderedConstraintState(self.node, copy_from=self)

    def copy(self) -> "UnorderedConstraintState":
        return self.__copy__()

    @property
    def name(self) -> str:
        return "ROOT" if self.is_root else str(self.node.id)

    @property
    def is_root(self) -> bool:
        return self.node is self.root

    @property
    def bank(self) -> int:
        return sum(self.generated.values())

    @property
    def num_completed(self) -> int:
        return sum(self.completed.values())

    @property
    def finished(self) -> bool:
        return self.root.num_constraints == self.num_completed

    @property
    def token_counts(self) -> "Counter[int]":
        return self.root.token_counts()

    @property
    def tokens(self) -> set[int]:
        return self.root.tokens()

    @property
    def num_constraint_tokens(self) -> int:
        return sum(self.token_counts.values())

    def next_tokens(self) -> set[int]:
        return self.root.next_tokens() | self.node.next_tokens()

    def advance(self, token: int) -> "UnorderedConstraintState":
        """Down the trie with `token`, from the node or else from the root, where phrases with it are still missing."""
        token = int(token)
        for start in (self.node, self.root):
            child = start[token]
            if child is not None and self.generated[child] < child.num_constraints:
                return self._moved(child, abandoned=start is not self.node)
        return self._moved(self.root, abandoned=True)

    def _moved(self, node: ConstraintNode, abandoned: bool) -> "UnorderedConstraintState":
        """At `node`; the words on the way to where this state is do not count if they are abandoned midway."""
        state = UnorderedConstraintState(node, copy_from=self)
        left = self.node
        while abandoned and left is not self.root and state._ended(left) > left.terminal:
            state.generated[left] -= 1
            assert left.parent is not None
            left = left.parent
        if node is not self.root:
            state.generated[node] += 1
        for touched in (left, node):
            if touched.terminal:
                state.completed[touched] = min(state._ended(touched), touched.terminal)
        return state

    def _ended(self, node: ConstraintNode) -> int:
        """How often a phrase ended at `node`, that is, passed it and no child of it."""
        return self.generated[node] - sum(self.generated[child] for child in node.children.values())
