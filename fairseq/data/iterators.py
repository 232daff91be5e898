"""Iterators over batches and epochs under the names fairseq users import; each lives in the module named here."""

from fairseq.data.iterating.buffered import BufferedIterator
from fairseq.data.iterating.counting import CountingIterator, GroupedIterator, ShardedIterator
from fairseq.data.iterating.epochs import EpochBatchIterating, EpochBatchIterator
from fairseq.data.iterating.grouped import GroupedEpochBatchIterator
from fairseq.data.iterating.sampler import FrozenBatchSampler
from fairseq.data.iterating.streaming import StreamingEpochBatchIterator

__all__ = [
    "BufferedIterator",
    "CountingIterator",
    "EpochBatchIterating",
    "EpochBatchIterator",
    "FrozenBatchSampler",
    "GroupedEpochBatchIterator",
    "GroupedIterator",
    "ShardedIterator",
    "StreamingEpochBatchIterator",
]
