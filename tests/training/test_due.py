"""When a checkpoint and a validation are due, and what stands in for a batch that a process does not have."""

from types import SimpleNamespace as Settings

import pytest
import torch

from fairseq.data.iterating.epochs import EpochBatchIterator
from fairseq.errors import TrainingError
from fairseq.training.batches import DeviceBatches
from fairseq.training.due import Due, due


def settings(*, save_interval=1, save_updates=0, validate_interval=1, validate_updates=0, after=0):
    return Settings(
        checkpoint=Settings(save_interval=save_interval, save_interval_updates=save_updates),
        dataset=Settings(
            validate_interval=validate_interval,
            validate_interval_updates=validate_updates,
            validate_after_updates=after,
        ),
    )


@pytest.mark.parametrize(
    ("cfg", "num_updates", "epoch", "end_of_epoch", "stops", "expected"),
    [
        (settings(), 7, 1, False, False, Due(save=False, validate=False)),
        (settings(), 7, 1, True, False, Due(save=True, validate=True)),
        (settings(save_interval=2), 7, 1, True, False, Due(save=False, validate=True)),
        (settings(validate_interval=2), 7, 1, True, False, Due(save=True, validate=False)),
        (settings(save_updates=5), 5, 1, False, False, Due(save=True, validate=True)),
        (settings(save_updates=5), 0, 1, False, False, Due(save=False, validate=False)),
        (settings(validate_updates=5), 5, 1, False, False, Due(save=False, validate=True)),
        (settings(save_updates=5, validate_interval=2), 5, 1, True, False, Due(save=True, validate=False)),
        (settings(save_updates=5, after=6), 5, 1, False, False, Due(save=False, validate=False)),
        (settings(after=6), 5, 1, True, False, Due(save=True, validate=False)),
        (settings(), 7, 1, False, True, Due(save=True, validate=True)),
        (settings(after=8), 7, 1, False, True, Due(save=True, validate=False)),
    ],
)
def test_due(cfg, num_updates, epoch, end_of_epoch, stops, expected):
    assert due(cfg, num_updates, epoch, end_of_epoch, stops) == expected


class Items(torch.utils.data.Dataset):
    supports_fetch_outside_dataloader = True

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index


def test_a_process_without_a_batch_gets_the_first_batch_of_its_iterator():
    batches = DeviceBatches(torch.device("cpu"))
    batches.take_dummies_from(EpochBatchIterator(Items(), torch.tensor, [[1], [0]]))
    assert [value.tolist() if torch.is_tensor(value) else value for value in batches.prepare(None)] == [[1], True]
    batch, is_dummy = batches.prepare(torch.tensor([5]))
    assert batch.tolist() == [5] and not is_dummy


def test_a_dataset_that_only_the_data_loader_can_read_gives_no_dummy_batch():
    items = Items()
    items.supports_fetch_outside_dataloader = False
    iterator = EpochBatchIterator(items, torch.tensor, [[1], [0]])
    assert iterator.first_batch is None
    batches = DeviceBatches(torch.device("cpu"))
    batches.take_dummies_from(iterator)
    with pytest.raises(TrainingError, match="rank 0 has no batch for this update"):
        batches.prepare({})
