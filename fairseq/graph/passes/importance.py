"""Which units of weights are pruned: exactly so many, the least important first, ties in their order.

>>> lowest(torch.tensor([2.0, 1.0, 1.0, 1.0, 0.5]), 3).tolist()
[False, True, True, False, True]
>>> keep_n_of_m(torch.tensor([[3.0, 1.0, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0]]), 2, 4).tolist()
[[True, False, True, False, False, False, True, True]]
"""

import torch
from torch import Tensor


def lowest(scores: Tensor, count: int) -> Tensor:
    """Where the `count` lowest of `scores`, a vector of any length, are; of equal ones the first."""
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    border = scores.kthvalue(count).values
    below, ties = scores < border, scores == border
    return below | (ties & (ties.cumsum(0) <= count - below.count_nonzero()))


def lowest_of_rows(scores: Tensor, count: int) -> Tensor:
    """Where the `count` lowest of each row are; of equal ones the first."""
    order = scores.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """True for the n highest of each m neighbours on the last axis, whose size m divides; of equal ones the last."""
    groups = scores.reshape(-1, m)
    order = groups.argsort(dim=1, stable=True)
    kept = torch.ones_like(groups, dtype=torch.bool)
    return kept.scatter_(1, order[:, : m - n], False).reshape(scores.shape)


def means(scores: Tensor) -> Tensor:
    """(units,): the mean of each row of (units, n).

    What is pruned already, at -inf, counts as zero, so that the mean is -inf only where a whole unit is pruned.

    >>> means(torch.tensor([[4.0, -torch.inf], [-torch.inf, -torch.inf]])).tolist()
    [2.0, -inf]
    """
    pruned = scores == -torch.inf
    return scores.masked_fill(pruned, 0).mean(1).masked_fill(pruned.all(1), -torch.inf)


def magnitude(weight: Tensor) -> Tensor:
    """|w|, in fp32 at least."""
    return weight.detach().abs().to(torch.promote_types(weight.dtype, torch.float32))
