"""Iterators with a position: `n` items taken of `len(...)`.

>>> itr = CountingIterator(range(5))
>>> next(itr), itr.n, len(itr), itr.has_next()
(0, 1, 5, True)
>>> list(GroupedIterator(itr, 2))
[[1, 2], [3, 4]]
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, Optional


class CountingIterator:
    """Counts what it hands out.

    Args:
        iterable: anything with a length.
        start: the count to begin with (after a resume); default: `iterable.n`, or 0.
        total: the count to stop at; default: `start + len(iterable)`.
    """

    def __init__(self, iterable: Any, start: Optional[int] = None, total: Optional[int] = None):
        self.iterable = iterable
        self.n: int = getattr(iterable, "n", 0) if start is None else start
        self.total: int = self.n + len(iterable) if total is None else total
        self._source: Optional[Iterator] = None

    def _iterate(self) -> Iterator:
        """The items, from where the count stands; subclasses override it."""
        return iter(self.iterable)

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> "CountingIterator":
        return self

    def __next__(self) -> Any:
        if self._source is None:  # not before the first item: workers start here
            self._source = self._iterate()
        if not self.has_next():
            self._source = iter(())
            raise StopIteration
        try:
            item = next(self._source)
        except StopIteration:
            raise IndexError(f"iterator ended after {self.n} items, {self.total} expected") from None
        self.n += 1
        return item

    def has_next(self) -> bool:
        return self.n < self.total

    def skip(self, n: int) -> "CountingIterator":
        """Leave out the next `n` items."""
        for _ in itertools.islice(self, n):
            pass
        return self

    def take(self, n: int) -> "CountingIterator":
        """Stop when the count is `n`."""
        self.total = min(self.total, n)
        if hasattr(self.iterable, "take"):
            self.iterable.take(max(n - self.n, 0) if not hasattr(self.iterable, "n") else n)
        return self


class GroupedIterator(CountingIterator):
    """Lists of `chunk_size` items, for gradient accumulation; counts lists.

    Args:
        skip_remainder_batch: leave out a last list that is shorter.
        every_item: fairseq's count, which is the default, loses the last items where a resumed `iterable` has taken a
            number of them that is no multiple of `chunk_size`; this one does not.
    """

    def __init__(self, iterable: Any, chunk_size: int, skip_remainder_batch: bool = False, every_item: bool = False):
        rounded = math.floor if skip_remainder_batch else math.ceil
        taken = getattr(iterable, "n", 0)
        self.offset = math.ceil(taken / chunk_size)
        total = rounded(len(iterable) / chunk_size)
        if every_item:
            total = self.offset + rounded((len(iterable) - taken) / chunk_size)
        super().__init__(iterable, start=self.offset, total=total)
        self.chunk_size = chunk_size

    def _iterate(self) -> Iterator[list]:
        source = iter(self.iterable)
        while chunk := list(itertools.islice(source, self.chunk_size)):
            yield chunk


class ShardedIterator(CountingIterator):
    """Every `num_shards`-th item, beginning with item `shard_id`; shards that end early get a `fill_value`.

    >>> list(ShardedIterator(list("abcde"), num_shards=2, shard_id=1, fill_value=""))
    ['b', 'd', '']
    """

    def __init__(
        self,
        iterable: Any,
        num_shards: int,
        shard_id: int,
        fill_value: Any = None,
        skip_remainder_batch: Optional[bool] = None,
    ):
        if not 0 <= shard_id < num_shards:
            raise ValueError(f"shard_id must be in 0..{num_shards - 1}, not {shard_id}")
        rounded = math.floor if skip_remainder_batch else math.ceil
        total = rounded(len(iterable) / num_shards)
        super().__init__(iterable, start=math.ceil(getattr(iterable, "n", 0) / num_shards), total=total)
        self.num_shards, self.shard_id, self.fill_value = num_shards, shard_id, fill_value

    def _iterate(self) -> Iterator:
        mine: Iterable = itertools.islice(self.iterable, self.shard_id, None, self.num_shards)
        return itertools.chain(mine, itertools.repeat(self.fill_value))
