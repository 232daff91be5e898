"""How many values share one range: all of a tensor, a channel, a token, a group of neighbours.

    tensor       one range
    channel      one per index of one axis: a weight's rows (its output channels), an activation's last axis; of a
                 vector one per value
    channel:A    the same with axis A
    token        one per vector that enters a dot product: the last axis shares a range
    group:G      one per G neighbours on the last axis (a shorter group at the end where G does not divide it)
    block:RxC    one per R rows and C columns of the last two axes (smaller ones at the ends)

>>> Granularity.parse("group:64"), Granularity.parse("channel", axis=0)
(Granularity(kind='group', number=64, sizes=None), Granularity(kind='channel', number=0, sizes=None))
>>> str(Granularity.parse("block:16x8"))
'block:16x8'
>>> import torch
>>> Granularity.parse("token").reduced(torch.zeros(2, 3, 4))
(2,)
"""

from collections.abc import Iterator
from typing import NamedTuple, Optional

from torch import Tensor

from fairseq.errors import ConfigError, unknown

KINDS = ("tensor", "channel", "token", "group", "block")


class Granularity(NamedTuple):
    """Which values share a range.

    Attributes:
        kind: one of `KINDS`.
        number: the axis of a channel, the size of a group.
        sizes: rows and columns of a block.
    """

    kind: str
    number: Optional[int] = None
    sizes: Optional[tuple[int, int]] = None

    @classmethod
    def parse(cls, text: str, axis: int = -1, where: str = "granularity") -> "Granularity":
        """Read `"tensor"`, `"channel:0"`, `"token"`, `"group:64"`, `"block:16x16"`...; `axis`: of a bare channel."""
        kind, colon, number_text = str(text).partition(":")
        if kind not in KINDS:
            raise ConfigError(unknown("granularity", str(text), KINDS, where=where))
        if kind == "block":
            return cls(kind, None, _sizes(number_text, str(text), where))
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
        if self.sizes is not None:
            return f"{self.kind}:{self.sizes[0]}x{self.sizes[1]}"
        return self.kind if self.number is None else f"{self.kind}:{self.number}"

    def reduced(self, x: Tensor) -> tuple[int, ...]:
        """The axes of `x` over which a range is taken (for a group or a block: of what `pieces` yields)."""
        if self.kind == "tensor" or x.dim() == 0:
            return tuple(range(x.dim()))
        if self.kind == "channel":
            assert self.number is not None
            if not -x.dim() <= self.number < x.dim():
                raise ConfigError(f"granularity {self}: a tensor of shape {tuple(x.shape)} has no axis {self.number}")
            kept = self.number % x.dim()
            return tuple(axis for axis in range(x.dim()) if axis != kept)
        if self.kind == "block":
            return (x.dim() - 3, x.dim() - 1)
        return (x.dim() - 1,)

    def pieces(self, x: Tensor) -> Iterator[Tensor]:
        """Views of `x` in which ranges run over whole axes: x itself, or its groups and the shorter one behind them."""
        if self.kind == "channel" and x.dim() == 1:  # a matrix of one row or column: each value has a range of its own
            yield x.unsqueeze(0 if self.number == -1 else 1)
            return
        if self.sizes is not None:
            yield from _blocks(x, self.sizes)
            return
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
        if self.sizes is not None:
            rows = shape[-2] if len(shape) > 1 else 1
            return min(rows, self.sizes[0]) * min(shape[-1], self.sizes[1])
        return min(shape[-1], self.number) if self.number is not None else shape[-1]


def _sizes(numbers: str, text: str, where: str) -> tuple[int, int]:
    """The R and C of a block."""
    rows, _, columns = numbers.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise ConfigError(f"{where}: granularity {text!r} needs rows and columns of at least 1, as in 'block:16x16'")
    return int(rows), int(columns)


def _blocks(x: Tensor, sizes: tuple[int, int]) -> Iterator[Tensor]:
    """Views (..., R / r, r, C / c, c) of the whole blocks, and of those that the ends of rows and columns cut."""
    x = x.view([1] * (2 - x.dim()) + list(x.shape)) if x.dim() < 2 else x
    for start, stop, height in _cuts(x.shape[-2], sizes[0]):
        for left, right, width in _cuts(x.shape[-1], sizes[1]):
            part = x[..., start:stop, left:right]
            rows, columns = (stop - start) // height, (right - left) // width
            yield part.view(*x.shape[:-2], rows, height, columns, width)


def _cuts(length: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, size) of the whole blocks of an axis, and of the shorter one behind them."""
    whole = length // size * size
    if whole:
        yield 0, whole, size
    if whole < length:
        yield whole, length, length - whole
