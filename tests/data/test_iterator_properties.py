"""Properties of batch iterators: every example exactly once per epoch, for any shards, stop, and filter of lengths."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import torch
import torch.utils.data
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.data import FairseqDataset
from fairseq.data.iterators import GroupedEpochBatchIterator, GroupedIterator, StreamingEpochBatchIterator
from fairseq.tasks import FairseqTask


class Lengths(FairseqDataset):
    """Items that are their index, of given lengths, shortest first."""

    can_reuse_epoch_itr_across_epochs = False

    def __init__(self, sizes):
        self.sizes = np.array(sizes)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return int(index)

    def num_tokens(self, index):
        return int(self.sizes[index])

    size = num_tokens

    def num_tokens_vec(self, indices):
        return self.sizes[indices]

    def ordered_indices(self):
        return np.random.permutation(len(self))[np.argsort(self.sizes, kind="stable").argsort().argsort()]

    def collater(self, samples):
        return samples


SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=40)


def iterators(sizes, shards, longest, limits, **options):
    """One for each shard, as a task makes them."""
    task = FairseqTask(SimpleNamespace())
    return [
        task.get_batch_iterator(
            Lengths(sizes),
            max_positions=longest,
            ignore_invalid_inputs=True,
            num_shards=shards,
            shard_id=shard,
            **limits,
            **options,
        )
        for shard in range(shards)
    ]


def examples(epochs):
    return Counter(example for epoch in epochs for batch in epoch for example in batch)


def wanted(sizes, longest):
    return Counter(index for index, size in enumerate(sizes) if size <= longest)


LIMITS = st.sampled_from([{"max_tokens": 12}, {"max_sentences": 1}, {"max_sentences": 3}, {"max_tokens": 25}])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=SIZES,
    shards=st.integers(1, 5),
    longest=st.integers(1, 12),
    limits=LIMITS,
    grouped=st.booleans(),
    new_batches=st.booleans(),
)
def test_an_epoch_has_every_example_once(sizes, shards, longest, limits, grouped, new_batches):
    if not wanted(sizes, longest):
        longest = 12
    options = {"grouped_shuffling": grouped, "update_epoch_batch_itr": new_batches}
    workers = iterators(sizes, shards, longest, limits, **options)
    for _ in range(2):
        epochs = [list(worker.next_epoch_itr()) for worker in workers]
        assert examples(epochs) == wanted(sizes, longest)
        assert len({len(epoch) for epoch in epochs}) == 1 == len({len(worker) for worker in workers})
        assert all(worker.end_of_epoch() for worker in workers)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=SIZES,
    shards=st.integers(1, 4),
    then=st.integers(1, 4),
    stop=st.integers(0, 20),
    limits=LIMITS,
    grouped=st.booleans(),
    update_freq=st.integers(1, 3),
)
def test_a_stop_and_another_number_of_shards_lose_and_repeat_nothing(
    sizes, shards, then, stop, limits, grouped, update_freq
):
    options = {"grouped_shuffling": grouped, "seed": 3}
    first = iterators(sizes, shards, 12, limits, **options)
    before = []
    for worker in first:
        updates = GroupedIterator(worker.next_epoch_itr(), update_freq, every_item=True)
        before.append([batch for _ in range(min(stop, len(updates))) for batch in next(updates)])
    states = [{"num_shards": shards, **worker.state_dict()} for worker in first]  # a checkpoint's config has the number
    assert all(state == states[0] for state in states)
    resumed = iterators(sizes, then, 12, limits, **options)
    for worker in resumed:
        worker.load_state_dict(states[0])
    ended = states[0]["iterations_in_epoch"] == 0 and stop > 0
    rest = [list(worker.next_epoch_itr()) for worker in resumed]
    assert examples(rest if ended else before + rest) == Counter(range(len(sizes)))
    assert resumed[0].epoch == (2 if ended else 1)
    following = [list(worker.next_epoch_itr()) for worker in resumed]
    assert examples(following) == Counter(range(len(sizes)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    shards=st.integers(1, 3),
    then=st.integers(1, 3),
    mult_rate=st.integers(1, 3),
    stop=st.integers(0, 6),
)
def test_batches_of_groups_come_once(counts, shards, then, mult_rate, stop):
    numbers = iter(range(100))
    samplers = [[[next(numbers)] for _ in range(count)] for count in counts]
    dataset = Lengths([1] * 100)

    def workers(number):
        return [
            GroupedEpochBatchIterator(
                dataset, dataset.collater, samplers, num_shards=number, shard_id=shard, mult_rate=mult_rate
            )
            for shard in range(number)
        ]

    first, second = workers(shards), workers(then)
    before = []
    for worker in first:
        epoch = worker.next_epoch_itr()
        before.append([next(epoch) for _ in range(min(stop, len(epoch)))])
    state = {"num_shards": shards, **first[0].state_dict()}
    ended = state["epoch"] == 2
    for worker in second:
        worker.load_state_dict(state)
    rest = [list(worker.next_epoch_itr()) for worker in second]
    assert examples(rest if ended else before + rest) == Counter(range(sum(counts)))


def test_batches_of_a_group_come_from_one_sampler():
    samplers = [[[0, i] for i in range(7)], [[1, i] for i in range(5)]]
    workers = [
        GroupedEpochBatchIterator(Lengths([1] * 9), list, samplers, num_shards=2, shard_id=shard, mult_rate=2)
        for shard in range(2)
    ]
    epochs = [list(worker.next_epoch_itr()) for worker in workers]
    for start in (0, 2):  # two groups of 2 x 2 batches, then the rest
        group = [batch for epoch in epochs for batch in epoch[start : start + 2]]
        assert len({sampler for sampler, _ in group}) == 1
    assert len(workers[0]) == len(epochs[0]) == 6
    cut = GroupedEpochBatchIterator(Lengths([1] * 9), list, samplers, mult_rate=4, skip_remainder_batch=True)
    assert len(list(cut.next_epoch_itr())) == len(cut) == 8


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(range(self.count))

    def collater(self, samples):
        return samples


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 20), sentences=st.integers(1, 6), stop=st.integers(0, 20), buffer_size=st.sampled_from([0, 3])
)
def test_a_stream_goes_on_where_it_stopped(count, sentences, stop, buffer_size):
    first = StreamingEpochBatchIterator(Stream(count), sentences, buffer_size=buffer_size)
    epoch = first.next_epoch_itr()
    before = [next(epoch) for _ in range(min(stop, len(epoch)))]
    state = first.state_dict()
    second = StreamingEpochBatchIterator(Stream(count), sentences, buffer_size=buffer_size)
    second.load_state_dict(state)
    rest = list(second.next_epoch_itr())
    ended = state["epoch"] == 2
    assert examples([rest] if ended else [before, rest]) == Counter(range(count))
    assert second.epoch == state["epoch"] and second.end_of_epoch() and second.next_epoch_idx == state["epoch"] + 1
