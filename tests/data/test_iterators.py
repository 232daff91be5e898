"""Epoch iterators: workers, resuming, errors. The order of batches is compared with fairseq's in tests/conformance."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
import torch.utils.data

from fairseq.data import EpochBatchIterator
from fairseq.data.errors import LoadingError
from fairseq.data.iterating.loading import BatchLoader, deaths_of_workers, pack, unpack
from fairseq.data.iterators import BufferedIterator, CountingIterator, GroupedIterator, ShardedIterator
from fairseq.errors import CheckpointError, DataError


class Numbers(torch.utils.data.Dataset):
    def __init__(self, fails_at=None):
        self.fails_at, self.epochs = fails_at, []

    def __len__(self):
        return 30

    def __getitem__(self, index):
        if index == self.fails_at:
            raise DataError(f"item {index} is damaged")
        return torch.full((2,), int(index))

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def collater(self, items):
        return {"x": torch.stack(items), "n": len(items)} if items else {}


def iterator(dataset=None, count=10, **options):
    dataset = dataset or Numbers()
    batches = [np.arange(3 * i, 3 * i + 3) for i in range(count)]
    return EpochBatchIterator(dataset=dataset, collate_fn=dataset.collater, batch_sampler=batches, **options)


def values(epoch):
    return [batch["x"][:, 0].tolist() for batch in epoch]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_give_the_same_batches(num_workers):
    here, there = iterator(), iterator(num_workers=num_workers, buffer_size=5)
    for _ in range(2):
        expected = list(here.next_epoch_itr())
        got = list(there.next_epoch_itr())
        assert [batch["n"] for batch in got] == [3] * 10
        assert all(torch.equal(a["x"], b["x"]) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_reading_batches_leaves_the_random_generators_alone(num_workers):
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    values(iterator(num_workers=num_workers).next_epoch_itr())
    assert (torch.rand(1), np.random.rand()) == expected


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resume_in_the_middle_of_an_epoch(num_workers):
    whole = iterator(num_workers=num_workers)
    epochs = [values(whole.next_epoch_itr()) for _ in range(3)]
    first = iterator(num_workers=num_workers)
    values(first.next_epoch_itr())
    epoch = first.next_epoch_itr()
    taken = [next(epoch)["x"][:, 0].tolist() for _ in range(4)]
    state = first.state_dict()
    assert state == {"version": 2, "epoch": 2, "iterations_in_epoch": 4, "shuffle": True}
    second = iterator(num_workers=num_workers)
    second.load_state_dict(state)
    assert (second.next_epoch_idx, second.iterations_in_epoch) == (2, 4)
    rest = second.next_epoch_itr()
    assert len(rest) == 10 and taken + values(rest) == epochs[1]
    assert second.end_of_epoch() and values(second.next_epoch_itr()) == epochs[2]
    assert second.dataset.epochs == [2, 3]


def test_state_at_the_end_of_an_epoch_is_the_beginning_of_the_next():
    first = iterator()
    values(first.next_epoch_itr())
    assert first.state_dict()["epoch"] == 2 and first.state_dict()["iterations_in_epoch"] == 0
    second = iterator()
    second.load_state_dict(first.state_dict())
    assert values(second.next_epoch_itr()) == values(first.next_epoch_itr())


def test_resuming_with_fewer_batches_says_what_to_do():
    with pytest.raises(CheckpointError, match=r"after batch 12 of epoch 3, which now has 10: .*--reset-dataloader"):
        iterator().load_state_dict({"version": 2, "epoch": 3, "iterations_in_epoch": 12, "shuffle": True})
    old = iterator()
    old.load_state_dict({"epoch": 3, "iterations_in_epoch": 10})  # version 1
    assert old.epoch == 4


def test_shards_share_all_batches_and_are_equally_long():
    shards = [iterator(num_shards=3, shard_id=i).next_epoch_itr() for i in range(3)]
    batches = [list(shard) for shard in shards]
    assert [len(shard) for shard in batches] == [4, 4, 4]
    assert sorted(i for shard in batches for batch in shard if batch for i in batch["x"][:, 0].tolist()) == list(
        range(30)
    )
    assert [shard[-1] == {} for shard in batches] == [False, True, True]
    with pytest.raises(ValueError, match=r"shard_id must be in 0..2"):
        ShardedIterator([1], 3, 3)


def test_grouped_shuffling_loses_no_batch():
    shards = [iterator(num_shards=4, shard_id=i, grouped_shuffling=True).next_epoch_itr() for i in range(4)]
    batches = [batch["x"][:, 0].tolist() for shard in shards for batch in shard if batch]
    assert sorted(i for batch in batches for i in batch) == list(range(30))


def test_first_batch_and_an_empty_dataset():
    assert iterator().first_batch["x"][:, 0].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="The dataset is empty"):
        iterator(count=0).first_batch  # noqa: B018


def test_batches_made_for_each_epoch():
    made = []

    def sampler(dataset, epoch):
        made.append(epoch)
        return [[epoch], [epoch + 1]]

    dataset = Numbers()
    itr = EpochBatchIterator(dataset, dataset.collater, sampler, epoch=3)
    assert values(itr.next_epoch_itr(shuffle=False)) == [[3], [4]]
    assert values(itr.next_epoch_itr(shuffle=False)) == [[4], [5]]
    assert made == [3, 4]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_data_is_one_line_from_a_worker_too(num_workers):
    itr = iterator(Numbers(fails_at=7), num_workers=num_workers).next_epoch_itr(shuffle=False)
    next(itr), next(itr)
    with pytest.raises(DataError) as caught:
        next(itr)
    assert str(caught.value) == "item 7 is damaged"


def test_nothing_is_read_before_the_first_batch_is_asked_for():
    itr = iterator(Numbers(fails_at=0)).next_epoch_itr(shuffle=False)
    assert len(itr) == 10 and itr.has_next() and itr.n == 0


def test_skipping_the_remainder():
    itr = iterator(skip_remainder_batch=True).next_epoch_itr()
    assert len(itr) == 9 and len(values(itr)) == 9


def test_counting_iterator_tells_a_source_that_ends_early():
    itr = CountingIterator(range(3), total=5)
    with pytest.raises(IndexError, match="ended after 3 items, 5 expected"):
        list(itr)


def test_groups_of_a_resumed_epoch():
    itr = CountingIterator(list(range(4, 10)), start=4)
    grouped = GroupedIterator(itr, 2)
    assert (grouped.n, len(grouped), list(grouped)) == (2, 5, [[4, 5], [6, 7], [8, 9]])


def test_packing_keeps_batches_as_they_are():
    big = torch.zeros(1 << 17, dtype=torch.int64)
    batch = {
        "a": torch.tensor([[1, 2]]),
        "b": [torch.tensor(1.5), "x"],
        "c": (None, 3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "big": big,
    }
    packed = pack(batch)
    assert isinstance(packed["a"].values, np.ndarray) and packed["big"] is big
    back = unpack(packed)
    assert torch.equal(back["a"], batch["a"]) and back["b"][0].item() == 1.5 and back["c"] == (None, 3)
    assert back["b"][0].shape == () and back["half"] is batch["half"] and list(back) == list(batch)


def test_buffered_iterator_reads_ahead_and_passes_errors_on():
    read = []

    class Source:
        def __len__(self):
            return 6

        def __iter__(self):
            for i in range(6):
                read.append(i)
                yield i
                if i == 4:
                    raise DataError("broken")

    itr = BufferedIterator(2, Source())
    assert next(itr) == 0
    deadline = time.monotonic() + 5
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read) >= 3
    with pytest.raises(DataError, match="broken"):
        list(itr)
    assert list(BufferedIterator(2, range(5)).take(3)) == [0, 1, 2]


def test_an_abandoned_buffer_stops_its_thread():
    itr = BufferedIterator(1, range(100))
    next(itr)
    threads = [thread for thread in threading.enumerate() if thread.name == itr.thread_name]
    assert len(threads) == 1 and threads[0].is_alive()
    del itr
    threads[0].join(timeout=5)
    assert not threads[0].is_alive()


class Deadly(list):
    """The process that reads its last item is killed, as by a system that is out of memory."""

    def __getitem__(self, index):
        if index == len(self) - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_killed_worker_is_one_line():
    loader = BatchLoader(Deadly(range(4)), list, [[0, 1], [2, 3]], num_workers=1)
    expected = pytest.raises(LoadingError, match=r"process \d+ .*ended.*dataset.num_workers=0")
    with expected as caught, deaths_of_workers():
        list(loader)
    assert isinstance(caught.value, RuntimeError) and "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="something else"), deaths_of_workers():
        raise RuntimeError("something else")


def test_a_bus_error_in_a_worker_is_told_as_what_it_means():
    text = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that workers are out of memory."
    expected = pytest.raises(
        LoadingError, match=r"process 7 .*\(Bus error\), perhaps because a data file became shorter"
    )
    with expected, deaths_of_workers():
        raise RuntimeError(text)
