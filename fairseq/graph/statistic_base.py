"""What statistics have in common: a base class, a registry, and how they go through a tensor."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

CHUNK = 2**18  # values at a time, so that what is made of them stays in the cache

S = TypeVar("S", bound=type)
STATISTICS: dict[str, Callable[..., "Statistic"]] = {}


def register_statistic(name: str) -> Callable[[S], S]:
    def decorate(kind: S) -> S:
        STATISTICS[name] = kind
        return kind

    return decorate


class Statistic:
    """Base of all: one pass, over floating-point tensors of any shape."""

    def update(self, x: Tensor) -> None:
        """Take account of a tensor, which is not kept."""
        raise NotImplementedError

    def next_pass(self) -> bool:
        """Called after everything has been seen: whether it has to be seen again."""
        return False

    def result(self) -> dict[str, Any]:
        raise NotImplementedError


def chunks(x: Tensor) -> Iterator[Tensor]:
    """The values of `x` in vectors of up to CHUNK."""
    yield from x.detach().reshape(-1).split(CHUNK)


def wide(x: Tensor) -> Tensor:
    """`x` in a type that sums of squares fit in."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
