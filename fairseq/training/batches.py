"""The batch iterators of a run: the task's datasets with the sizes, seeds and shards of the config."""

import logging
from typing import Any

import torch

from fairseq import utils
from fairseq.data.part_of_dataset import load_subset
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import CheckpointError, TrainingError

logger = logging.getLogger(__name__)


def _max_positions(task: Any, model: Any, *more: Any) -> Any:
    return utils.resolve_max_positions(task.max_positions(), model.max_positions(), *more)


def train_iterator(
    cfg: Any,
    task: Any,
    model: Any,
    *,
    epoch: int,
    combine: bool = True,
    load_dataset: bool = True,
    data_selector: Any = None,
    shard_batch_itr: bool = True,
    disable_iterator_cache: bool = False,
    shards: tuple[int, int] = (1, 0),
) -> Any:
    """Batches of `dataset.train_subset`, sharded over the processes. Samples that are too long are skipped, with a
    log line.

    Args:
        cfg: the root config.
        shard_batch_itr: False gives every process all batches.
        shards: how many processes share the batches, and the number of this one among them.
    """
    dataset_cfg = cfg.dataset
    if load_dataset:
        logger.info(f"loading train data for epoch {epoch}")
        load_subset(task, dataset_cfg.train_subset, epoch=epoch, combine=combine, data_selector=data_selector)
    return task.get_batch_iterator(
        dataset=task.dataset(dataset_cfg.train_subset),
        max_tokens=dataset_cfg.max_tokens,
        max_sentences=dataset_cfg.batch_size,
        max_positions=_max_positions(task, model, dataset_cfg.max_tokens),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=dataset_cfg.required_batch_size_multiple,
        seed=cfg.common.seed + epoch if dataset_cfg.update_ordered_indices_seed else cfg.common.seed,
        num_shards=shards[0] if shard_batch_itr else 1,
        shard_id=shards[1] if shard_batch_itr else 0,
        num_workers=dataset_cfg.num_workers,
        epoch=epoch,
        data_buffer_size=dataset_cfg.data_buffer_size,
        disable_iterator_cache=disable_iterator_cache,
        skip_remainder_batch=cfg.optimization.skip_remainder_batch,
        grouped_shuffling=dataset_cfg.grouped_shuffling,
        update_epoch_batch_itr=dataset_cfg.update_epoch_batch_itr,
    )


def valid_iterator(
    cfg: Any,
    task: Any,
    model: Any,
    subset: str,
    disable_iterator_cache: bool = False,
    shards: tuple[int, int] = (1, 0),
) -> Any:
    """Batches of a validation subset, in the task's order for scoring. Samples that are too long are an error unless
    the config says to skip them.
    """
    dataset_cfg = cfg.dataset
    return task.get_batch_iterator(
        dataset=task.dataset_for_scoring(subset),
        max_tokens=dataset_cfg.max_tokens_valid,
        max_sentences=dataset_cfg.batch_size_valid,
        max_positions=_max_positions(task, model),
        ignore_invalid_inputs=dataset_cfg.skip_invalid_size_inputs_valid_test,
        required_batch_size_multiple=dataset_cfg.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=shards[0],
        shard_id=shards[1],
        num_workers=dataset_cfg.num_workers,
        epoch=1,
        data_buffer_size=dataset_cfg.data_buffer_size,
        disable_iterator_cache=disable_iterator_cache,
        skip_remainder_batch=False,
    )


class DeviceBatches:
    """Moves batches to a device. A process that has run out of batches gets a dummy batch in their place, because it
    must still take part in every exchange between processes.

    >>> batches = DeviceBatches(torch.device("cpu"))
    >>> batches.dummy_batch = {"ids": torch.tensor([1])}
    >>> batches.prepare({})
    ({'ids': tensor([1])}, True)
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.dummy_batch: Any = None
        self._iterator: Any = None

    def take_dummies_from(self, iterator: Any) -> None:
        """Use the first batch of `iterator`, an `EpochBatchIterator`. It is read when it is needed."""
        self._iterator = iterator

    def prepare(self, sample: Any) -> tuple[Any, bool]:
        """`sample` on the device, and whether it is a dummy batch.

        Raises:
            TrainingError: a dummy batch is needed, and the dataset gives none.
        """
        if sample is not None and len(sample) > 0:
            return utils.move_to_device(sample, self.device), False
        if self.dummy_batch is None and self._iterator is not None:
            self.dummy_batch = self._iterator.first_batch
        if self.dummy_batch is None:
            raise TrainingError(
                f"rank {distributed_utils.get_rank()} has no batch for this update, and its dataset does not allow "
                "reading one outside of the data loader; use fewer processes or a dataset with more batches"
            )
        return utils.move_to_device(self.dummy_batch, self.device), True


def check_same_start(save_dir: str, num_updates: int, epoch_itr: Any) -> None:
    """Check that all processes start from the same checkpoint: a shared file system may show a new file to some of
    them later than to others.

    Raises:
        CheckpointError: they do not; names the ranks.
    """
    own = (num_updates, epoch_itr.epoch, len(epoch_itr))
    starts = distributed_utils.all_gather_list(own)
    for rank, start in enumerate(starts):
        if start != starts[0]:
            raise CheckpointError(
                f"{save_dir}: rank {rank} starts at update {start[0]} of epoch {start[1]} with "
                f"{start[2]} batches, rank 0 at update {starts[0][0]} of epoch {starts[0][1]} with {starts[0][2]}; "
                "all ranks must see the same checkpoints and the same data"
            )
