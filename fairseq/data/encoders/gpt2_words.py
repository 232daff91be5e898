"""A bounded cache word -> BPE ids that answers for arrays of words at once.

A word of up to 15 bytes is its own key: two 64-bit integers that hold its bytes and its length, so that equal keys mean
equal words. They are looked up in a table with open addressing by a few array operations; only words that are not found
there are compared one by one, and only new words are encoded.

>>> from fairseq.data.encoders.gpt2_split import Splitter
>>> cache = WordCache(encode=lambda words: [[len(word)] for word in words])
>>> ids, ends = cache.ids(Splitter().split(["to be", "or not to"]))
>>> ids.tolist(), ends.tolist()  # of all lines; where each line's end
([2, 3, 2, 4, 3], [2, 5])
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fairseq.data.encoders.gpt2_split import Words

SLOT_BITS = 17
CAPACITY = 1 << (SLOT_BITS - 1)  # words kept; then the cache is emptied
_PROBES = 4
_LONGEST = 15

_ONES = [(1 << (8 * min(max(size, 0), 8))) - 1 for size in range(-8, 9)]
_LOW = np.array([_ONES[8 + min(size, 8)] for size in range(_LONGEST + 2)], dtype=np.uint64)
_HIGH = np.array([_ONES[8 + min(size - 8, 7)] for size in range(_LONGEST + 2)], dtype=np.uint64)
_SIZE = np.array([size << 56 for size in range(_LONGEST + 2)], dtype=np.uint64)
_MIX = [np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)]
_SHIFT = np.uint64(64 - SLOT_BITS)
_HALF = np.uint64(32)


class WordCache:
    """Ids of words.

    Args:
        encode: the ids of each of some words, given as UTF-8.
        limit: empty the cache when there are more words than this.
    """

    def __init__(self, encode: Callable[[Sequence[bytes]], list[list[int]]], limit: int = CAPACITY):
        self._encode, self._limit = encode, limit
        self._clear()

    def _clear(self) -> None:
        slots = (1 << SLOT_BITS) + _PROBES
        self._low = np.zeros(slots, dtype=np.uint64)
        self._high = np.zeros(slots, dtype=np.uint64)  # 0: free, as a key holds the word's length
        self._number = np.zeros(slots, dtype=np.int32)
        self._numbers: dict[bytes, int] = {}
        self._ids = np.zeros(0, dtype=np.int32)  # of all words, one after the other
        self._first = np.zeros(0, dtype=np.int32)  # by word: where its ids begin
        self._count = np.zeros(0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._numbers)

    def ids(self, words: Words) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(ids of all lines one after the other, (lines,) where each line's ids end); ends of lines have no ids."""
        if len(self) > self._limit:
            self._clear()
        numbers = self._look_up(words)
        counts = self._count.take(numbers)
        counts[words.ends] = 0
        upto = np.cumsum(counts, dtype=np.int64)
        first = self._first.take(numbers) - (upto - counts)
        ids = self._ids.take(np.repeat(first, counts) + np.arange(upto[-1]))
        return ids, upto[words.ends]

    def _look_up(self, words: Words) -> NDArray[np.int32]:
        starts, sizes = words.starts[:-1], np.minimum(np.diff(words.starts), _LONGEST + 1)
        whole = np.ndarray(len(words.data) - 7, dtype="<u8", buffer=words.data, strides=(1,))  # 8 bytes from each place
        low = whole[starts] & _LOW.take(sizes)
        high = (whole[starts + 8] & _HIGH.take(sizes)) | _SIZE.take(sizes)
        slots = _slots(low, high)
        numbers = self._number.take(slots)
        missing = np.flatnonzero((self._low.take(slots) != low) | (self._high.take(slots) != high))
        slots = slots[missing]
        for _ in range(_PROBES - 1):
            slots = slots + 1
            found = (self._low.take(slots) == low[missing]) & (self._high.take(slots) == high[missing])
            numbers[missing[found]] = self._number.take(slots[found])
            missing, slots = missing[~found], slots[~found]
        if len(missing):
            known = len(self._first)
            numbers[missing] = self._one_by_one(words, missing)
            new = missing[(numbers[missing] >= known) & (sizes[missing] <= _LONGEST)]
            self._insert(low[new], high[new], numbers[new])
        return numbers

    def _one_by_one(self, words: Words, indices: NDArray[np.int64]) -> list[int]:
        data = words.data.tobytes()
        spans = zip(words.starts[indices].tolist(), words.starts[indices + 1].tolist(), strict=True)
        found = [data[a:b] for a, b in spans]
        new = [word for word in dict.fromkeys(found) if word not in self._numbers]
        if new:
            encoded = self._encode(new)
            counts = np.fromiter(map(len, encoded), np.int32, len(new))
            first = len(self._ids) + np.cumsum(counts) - counts
            self._numbers.update(zip(new, range(len(self._first), len(self._first) + len(new)), strict=True))
            self._ids = np.append(self._ids, np.array([i for ids in encoded for i in ids], dtype=np.int32))
            self._first = np.append(self._first, first.astype(np.int32))
            self._count = np.append(self._count, counts)
        return [self._numbers[word] for word in found]

    def _insert(self, low: NDArray[np.uint64], high: NDArray[np.uint64], numbers: NDArray[np.int32]) -> None:
        """Give each word a free slot among those it may have; a word without one is looked up one by one."""
        numbers, first = np.unique(numbers, return_index=True)
        low, high = low[first], high[first]
        slots = _slots(low, high)
        for _ in range(_PROBES):
            free = np.flatnonzero(self._high.take(slots) == 0)
            _, first = np.unique(slots[free], return_index=True)
            taken = free[first]
            self._low[slots[taken]], self._high[slots[taken]] = low[taken], high[taken]
            self._number[slots[taken]] = numbers[taken]
            left = np.delete(np.arange(len(slots)), taken)
            low, high, numbers, slots = low[left], high[left], numbers[left], slots[left] + 1


def _slots(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.int64]:
    mixed = low * _MIX[0] + high * _MIX[1]
    mixed ^= mixed >> _HALF
    mixed *= _MIX[0]
    return (mixed >> _SHIFT).astype(np.int64)
