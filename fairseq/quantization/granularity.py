"""How many values share one range: all of a tensor, a channel, a token, a group of neighbours.

    tensor       one range
    channel      one per index of one axis: a weight's rows (its output channels), an activation's last axis
    channel:A    the same with axis A
    token        one per vector that enters a dot product: the last axis shares a range
    group:G      one per G neighbours on the last axis (a shorter group at the end where G does not divide it)

>>> Granularity.parse("group:64"), Granularity.parse("channel", axis=0)
(Granularity(kind='group', number=64), Granularity(kind='channel', number=0))
>>> import torch
>>> Granularity.parse("token").reduced(torch.zeros(2, 3, 4))
(2,)
"""

from collections.abc import Iterator
from typing import NamedTuple, Optional

from torch import Tensor

from fairseq.errors import ConfigError, unknown

KINDS = ("tensor", "channel", "token", "group")


class Granularity(NamedTuple):
    """Which values share a range. `number` is the axis of a channel or the size of a group."""

    kind: str
    number: Optional[int] = None

    @classmethod
    def parse(cls, text: str, axis: int = -1, where: str = "granularity") -> "Granularity":
        """Read `"tensor"`, `"channel"`, `"channel:0"`, `"token"` or `"group:64"`; `axis`: of a bare channel."""
        kind, colon, number_text = str(text).partition(":")
        if kind not in KINDS:
            raise ConfigError(unknown("granularity", str(text), KINDS, where=where))
        number: Optional[int] = None
        if colon:
            try:
                number = int(number_text)
            except ValueError:
                raise ConfigError(f"{where}: granularity {text!r} needs a whole number behind the colon") from None
        if kind == "group":
            if number is None or number < 1:
                raise ConfigError(f"{where}: granularity {text!r} needs a size of at least 1, as in 'group:64'")
        elif kind == "channel":
            number = axis if number is None else number
        elif colon:
            raise ConfigError(f"{where}: granularity {kind!r} takes no number, got {text!r}")
        return cls(kind, number)

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}:{self.number}"

    def reduced(self, x: Tensor) -> tuple[int, ...]:
        """The axes of `x` over which a range is taken (for a group: of `x` cut into groups)."""
        if self.kind == "tensor" or x.dim() == 0:
            return tuple(range(x.dim()))
        if self.kind == "channel":
            assert self.number is not None
            if not -x.dim() <= self.number < x.dim():
                raise ConfigError(f"granularity {self}: a tensor of shape {tuple(x.shape)} has no axis {self.number}")
            kept = self.number % x.dim()
            return tuple(axis for axis in range(x.dim()) if axis != kept)
        return (x.dim() - 1,)

    def pieces(self, x: Tensor) -> Iterator[Tensor]:
        """Views of `x` in which ranges run over whole axes: x itself, or its groups and the shorter one behind them."""
        if self.kind != "group" or x.dim() == 0:
            yield x
            return
        size = self.number
        assert size is not None
        whole = x.shape[-1] // size * size
        if whole:
            yield x[..., :whole].view(*x.shape[:-1], whole // size, size)  # (..., K) -> (..., K / size, size)
        if whole < x.shape[-1]:
            yield x[..., whole:]

    def values_per_range(self, shape: tuple[int, ...]) -> int:
        """How many values of a tensor of this shape share one range."""
        numel = 1
        for size in shape:
            numel *= size
        if self.kind == "tensor" or not shape or numel == 0:
            return max(numel, 1)
        if self.kind == "channel":
            assert self.number is not None
            return numel // shape[self.number]
        return min(shape[-1], self.number) if self.number is not None else shape[-1]
