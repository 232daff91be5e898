"""Cutting a sequence of items into batches by their token counts.

A batch of n items whose longest has L tokens costs n * L tokens (it is padded). Items are taken in order; the first one
to take a batch over `max_tokens` or `max_sentences` closes it. With `multiple > 1` the batch is then cut back to a
multiple (one smaller than `multiple` is kept), and the rest begins the next batch. Nothing is dropped.

>>> [batch.tolist() for batch in batch_by_size([7, 8, 9], None, np.array([3, 1, 2]), max_tokens=6)]
[[7, 8], [9]]
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Optional

import numpy as np

from fairseq.errors import DataError


def batch_by_size(
    indices: Any,
    num_tokens_fn: Optional[Callable[[int], int]],
    num_tokens_vec: Optional[np.ndarray] = None,
    max_tokens: Optional[int] = None,
    max_sentences: Optional[int] = None,
    required_batch_size_multiple: int = 1,
    fixed_shapes: Optional[Iterable[tuple[int, int]]] = None,
) -> list[np.ndarray]:
    """Batches of `indices`, in order.

    Args:
        indices: item numbers in the order in which to batch them.
        num_tokens_fn: tokens of one item; not used with `num_tokens_vec`, the tokens of each of `indices`.
        max_tokens, max_sentences: the most a batch may cost and hold; None or <= 0: no limit.
        required_batch_size_multiple: see above.
        fixed_shapes: allowed `(batch size, length)`; the limits above are then left to the shapes.

    Raises:
        DataError: one item alone has more than `max_tokens`.
    """
    if not isinstance(indices, np.ndarray):
        indices = np.fromiter(indices, dtype=np.int64)
    if not len(indices):
        return []
    no_limit = 1 << 62
    max_tokens = max_tokens if max_tokens is not None and max_tokens > 0 else no_limit
    max_sentences = max_sentences if max_sentences is not None and max_sentences > 0 else no_limit
    if num_tokens_vec is None and (fixed_shapes or max_tokens < no_limit):
        assert num_tokens_fn is not None
        num_tokens_vec = np.fromiter(map(num_tokens_fn, indices.tolist()), dtype=np.int64, count=len(indices))
    if fixed_shapes:
        assert num_tokens_vec is not None
        ends = _ends_by_shape(num_tokens_vec.tolist(), list(fixed_shapes))
    elif num_tokens_vec is None or int(num_tokens_vec.max()) * min(max_sentences, len(indices)) <= max_tokens:
        ends = _ends_by_count(len(indices), max_sentences, required_batch_size_multiple)
    else:
        longest = int(num_tokens_vec.argmax())
        if num_tokens_vec[longest] > max_tokens:
            raise DataError(
                f"sample {indices[longest]} has {num_tokens_vec[longest]} tokens, more than max_tokens={max_tokens}; "
                "raise --max-tokens, or shorten or skip long samples"
            )
        ends = _ends_by_tokens(num_tokens_vec.tolist(), max_tokens, max_sentences, required_batch_size_multiple)
    return [indices[start:end] for start, end in pairwise([0, *ends])]


def _cut_back(size: int, multiple: int) -> int:
    return size - size % multiple if size > multiple else size


def _ends_by_count(count: int, max_sentences: int, multiple: int) -> list[int]:
    """Where batches end if only their number of items is limited."""
    step = _cut_back(min(max_sentences, count), multiple)
    ends = list(range(step, count, step))
    done = ends[-1] if ends else 0
    ends.append(done + _cut_back(count - done, multiple))
    return ends if ends[-1] == count else [*ends, count]


def _ends_by_tokens(tokens: Sequence[int], max_tokens: int, max_sentences: int, multiple: int) -> list[int]:
    """Where batches end if their padded size is limited as well. Plain Python: 0.1 microseconds an item."""
    ends = []
    start = pos = longest = 0
    count = len(tokens)
    while pos < count:
        num_tokens = tokens[pos]
        if num_tokens > longest:
            longest = num_tokens
        pos += 1
        size = pos - start
        if size * longest > max_tokens or size > max_sentences:
            start += _cut_back(size - 1, multiple)
            ends.append(start)
            pos, longest = start, 0
    last = start + _cut_back(count - start, multiple)
    return [*ends, last] if last == count else [*ends, last, count]


def _ends_by_shape(tokens: Sequence[int], shapes: Sequence[tuple[int, int]]) -> list[int]:
    """Where batches end if each must fit into one of `shapes`; an item longer than all of them is alone."""
    ends = []
    start = longest = 0
    for pos, num_tokens in enumerate(tokens):
        longest = max(longest, num_tokens)
        size = pos - start + 1
        if size > 1 and not any(rows >= size and length >= longest for rows, length in shapes):
            ends.append(pos)
            start, longest = pos, num_tokens
    return [*ends, len(tokens)]


def shapes_of_buckets(
    buckets: Iterable[Any], max_tokens: Optional[int], max_sentences: Optional[int], multiple: int
) -> list[tuple[int, int]]:
    """The shape `(batch size, length)` for each bucket, a length or a tuple of lengths (source, target).

    A bucket of length L holds min(max_tokens // L, max_sentences) items, cut back to a multiple, and at least one.
    """
    shapes = []
    for bucket in buckets:
        length = int(np.max(bucket))
        size = max_tokens // max(length, 1) if max_tokens is not None and max_tokens > 0 else 1 << 62
        if max_sentences is not None and max_sentences > 0:
            size = min(size, max_sentences)
        shapes.append((max(_cut_back(size, multiple), 1), length))
    return shapes
