"""The data order of an epoch does not depend on how many processes read it, nor on a change of their number."""

import itertools

import pytest
import torch

from fairseq.data.iterators import EpochBatchIterator, GroupedIterator


def iterators(workers: int, batches: int = 13, state=None, **options):
    made = [
        EpochBatchIterator(
            torch.arange(batches),
            lambda items: [int(item) for item in items],
            [[index] for index in range(batches)],
            num_shards=workers,
            shard_id=rank,
            **options,
        )
        for rank in range(workers)
    ]
    if state is not None:
        for itr in made:
            itr.load_state_dict(dict(state))
    return made


def read(epochs, steps=None):
    """The batches of `steps` updates in the order in which one process would have read them."""
    rounds = zip(*epochs, strict=True)
    taken = rounds if steps is None else itertools.islice(rounds, steps)
    return [batch[0] for update in taken for batch in update if batch]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("numbers", [(2, 1), (1, 2), (3, 2, 1), (1, 3, 2), (2, 3), (2, 2), (1, 2, 2, 1)])
@pytest.mark.parametrize("steps", [1, 3])
def test_order_across_changes_of_the_number_of_processes(numbers, steps, grouped):
    whole = read([itr.next_epoch_itr() for itr in iterators(numbers[0], 24, grouped_shuffling=grouped)])
    assert sorted(whole) == list(range(24)) and whole != sorted(whole)
    state, seen = None, []
    for place, number in enumerate(numbers, start=1):
        group = iterators(number, 24, state, grouped_shuffling=grouped)
        seen += read([itr.next_epoch_itr() for itr in group], steps if place < len(numbers) else None)
        states = [itr.state_dict() for itr in group]
        assert all(other == states[0] for other in states)
        state = {"num_shards": number, **states[0]}  # which is known from the checkpoint's config
    assert seen == whole


def test_an_epoch_after_the_change_is_whole_again():
    group = iterators(2)
    read([itr.next_epoch_itr() for itr in group], 3)
    (alone,) = iterators(1, state=group[0].state_dict())
    assert alone.iterations_in_epoch == 6 and len(read([alone.next_epoch_itr()])) == 7
    assert alone.next_epoch_idx == 2
    assert sorted(read([alone.next_epoch_itr()])) == list(range(13))
    assert "consumed" not in alone.state_dict()


@pytest.mark.parametrize(("total", "taken", "size"), [(8, 3, 2), (8, 6, 4), (7, 3, 2), (8, 4, 2)])
def test_groups_hold_every_batch_that_is_left(total, taken, size):
    (itr,) = iterators(1, total, {"epoch": 1, "iterations_in_epoch": taken})
    groups = GroupedIterator(itr.next_epoch_itr(), size, every_item=True)
    held = []
    while groups.has_next():
        held += next(groups)
    assert len(held) == total - taken
