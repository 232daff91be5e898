"""Cases: order and resuming of epochs, iterators around iterators."""

import itertools

import torch
from data_case_tools import case, plain


class Numbers(torch.utils.data.Dataset):
    """Items that are their index; batches that are lists."""

    can_reuse_epoch_itr_across_epochs = True
    supports_prefetch = False

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return int(index)

    def set_epoch(self, epoch):
        self.epoch = epoch


def epoch_iterator(num_batches=13, **options):
    from fairseq.data import EpochBatchIterator

    batches = [list(range(3 * i, 3 * i + 3)) for i in range(num_batches)]
    return EpochBatchIterator(dataset=Numbers(), collate_fn=list, batch_sampler=batches, **options)


@case
def epoch_order():
    out = []
    for seed, shards, shard in itertools.product([1, 5], [1, 2, 3], [0, 1, 2]):
        if shard >= shards:
            continue
        for skip, grouped in ((False, False), (True, False), (False, True)):
            # fairseq drops the batches that fill no group: whole groups only
            options = dict(skip_remainder_batch=skip, grouped_shuffling=grouped)
            iterator = epoch_iterator(12 if grouped else 13, seed=seed, num_shards=shards, shard_id=shard, **options)
            epochs = []
            for shuffle, fixed in ((True, False), (True, True), (False, False), (True, False)):
                epoch = iterator.next_epoch_itr(shuffle=shuffle, fix_batches_to_gpus=fixed)
                epochs.append(
                    [len(epoch), list(epoch), iterator.epoch, iterator.next_epoch_idx, iterator.end_of_epoch()]
                )
            out.append(epochs)
    iterator = epoch_iterator(disable_shuffling=True)
    out.append([len(iterator), list(iterator.next_epoch_itr()), iterator.first_batch])
    return plain(out)


@case
def epoch_resume():
    out = []
    for stop, skip in itertools.product([0, 1, 6, 12, 13], [False, True]):
        first = epoch_iterator(seed=3, num_shards=1, skip_remainder_batch=skip)
        list(first.next_epoch_itr())
        epoch = first.next_epoch_itr()
        for _ in range(min(stop, len(epoch))):
            next(epoch)
        state = first.state_dict()
        second = epoch_iterator(seed=3, num_shards=1, skip_remainder_batch=skip)
        second.load_state_dict(dict(state))
        where = [second.epoch, second.iterations_in_epoch, second.next_epoch_idx]
        rest = second.next_epoch_itr()
        out.append([state, where, rest.n, len(rest), list(rest), second.epoch, second.iterations_in_epoch])
    return plain(out)


@case
def iterator_wrappers():
    from fairseq.data.iterators import CountingIterator, GroupedIterator, ShardedIterator

    out = []
    counting = CountingIterator(range(10))
    out.append([next(counting), next(counting), counting.n, len(counting), counting.has_next()])
    counting.skip(3)
    out.append([next(counting), counting.n])
    counting.take(8)
    out.append([list(counting), counting.n, len(counting), counting.has_next()])
    for size, skip in itertools.product([1, 2, 3, 4, 20], [False, True]):
        grouped = GroupedIterator(CountingIterator(range(10)), size, skip_remainder_batch=skip)
        out.append([len(grouped), list(grouped), grouped.n, grouped.has_next()])
        started = CountingIterator(range(10))
        next(started)
        next(started)
        next(started)
        grouped = GroupedIterator(started, size)
        out.append([len(grouped), grouped.n, list(grouped), grouped.n])
    for shards, shard in ((1, 0), (2, 0), (2, 1), (3, 0), (3, 2), (7, 6)):
        sharded = ShardedIterator(list(range(10)), shards, shard, fill_value=-1)
        out.append([len(sharded), list(sharded), sharded.n])
    return plain(out)
