"""Iterators over batches and epochs under the names fairseq users import; each lives in the module named here."""

from fairseq.data.iterating.buffered import BufferedIterator
from fairseq.data.iterating.counting import CountingIterator, GroupedIterator, ShardedIterator
from fairseq.data.iterating.epochs import EpochBatchIterating, EpochBatchIterator

__all__ = [
    "BufferedIterator",
    "CountingIterator",
    "EpochBatchIterating",
    "EpochBatchIterator",
    "GroupedIterator",
    "ShardedIterator",
]
