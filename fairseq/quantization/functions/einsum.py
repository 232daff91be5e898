"""`torch.einsum` of two tensors as one batch of matrix products.

An index is one of the batch (in both operands and the result), summed over (in both), or free (in one, and the result):

    (batch, left free, summed) @ (batch, summed, right free) -> (batch, left free, right free)

>>> import torch
>>> a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
>>> args = "bihd,bjhd->bhij", a, b
>>> torch.allclose(Contraction.of(args).run(torch.matmul), torch.einsum(*args), atol=1e-5)
True
>>> Contraction.obstacle(("bi,bj,bk->ijk", a, a, a))
'it has 3 operands'
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from torch import Tensor


class Contraction(NamedTuple):
    """Two operands, the letters of their axes, and those of the result."""

    a: Tensor
    b: Tensor
    left: str
    right: str
    result: str

    @classmethod
    def operands(cls, args: tuple[Any, ...]) -> list[Any]:
        """The tensors of a call of einsum."""
        tensors = args[1:]
        return list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)

    @classmethod
    def obstacle(cls, args: tuple[Any, ...]) -> Optional[str]:
        """Why a call is no product of two matrices, in words; None if it is one."""
        if not args or not isinstance(args[0], str):
            return "its equation is not text"
        operands = cls.operands(args)
        if len(operands) != 2:
            return f"it has {len(operands)} operand{'s' * (len(operands) != 1)}"
        found = cls.of(args)
        for letters in (found.left, found.right, found.result):
            if "." in letters or len(set(letters)) < len(letters):
                return "its equation has an ellipsis or takes a diagonal"
        lone = set(found.left) ^ set(found.right)
        if lone - set(found.result):
            return "it sums over an index of one operand alone"
        if not found.summed_letters:
            return "it sums over no index"
        if any(found.sizes(0)[letter] != found.sizes(1)[letter] for letter in set(found.left) & set(found.right)):
            return "it repeats an axis of size 1"
        return None

    @classmethod
    def of(cls, args: tuple[Any, ...]) -> "Contraction":
        """A call's arguments, taken apart."""
        inputs, arrow, result = args[0].replace(" ", "").partition("->")
        left, _, right = inputs.partition(",")
        if not arrow:
            result = "".join(sorted(letter for letter in set(left + right) if (left + right).count(letter) == 1))
        a, b = cls.operands(args)
        return cls(a, b, left, right, result)

    def sizes(self, side: int) -> dict[str, int]:
        """Letter -> size of its axis in the left (0) or right (1) operand."""
        letters, x = ((self.left, self.a), (self.right, self.b))[side]
        return dict(zip(letters, x.shape, strict=True))

    @property
    def summed_letters(self) -> str:
        """Indices that are summed over."""
        return "".join(letter for letter in self.left if letter in self.right and letter not in self.result)

    @property
    def summed(self) -> int:
        """How many products each number of the result is the sum of."""
        return math.prod(self.sizes(0)[letter] for letter in self.summed_letters)

    def run(self, matmul: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The result, by a function that multiplies batches of matrices."""
        both = self.summed_letters
        batch = "".join(letter for letter in self.left if letter in self.right and letter not in both)
        rows = "".join(letter for letter in self.left if letter not in self.right)
        columns = "".join(letter for letter in self.right if letter not in self.left)
        sizes = {**self.sizes(0), **self.sizes(1)}

        def shaped(x: Tensor, letters: str, *groups: str) -> Tensor:
            order = [letters.index(letter) for letter in batch + "".join(groups)]
            lead = [sizes[letter] for letter in batch]
            return x.permute(order).reshape(*lead, *(math.prod(sizes[each] for each in group) for group in groups))

        y = matmul(shaped(self.a, self.left, rows, both), shaped(self.b, self.right, both, columns))
        found = batch + rows + columns
        y = y.reshape([sizes[letter] for letter in found])
        return y.permute([found.index(letter) for letter in self.result])
