"""The batch iterators of a run: the task's datasets under the sizes, seeds and shards that the config asks for."""

import logging
from typing import Any

from fairseq import utils
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import CheckpointError

logger = logging.getLogger(__name__)


def _max_positions(trainer: Any, *more: Any) -> Any:
    return utils.resolve_max_positions(trainer.task.max_positions(), trainer.get_model().max_positions(), *more)


def train_iterator(
    trainer: Any,
    epoch: int,
    combine: bool,
    load_dataset: bool,
    data_selector: Any,
    shard_batch_itr: bool,
    disable_iterator_cache: bool,
) -> Any:
    """Batches of `dataset.train_subset`, sharded over the processes. Samples that are too long are skipped, with a
    log line.
    """
    cfg, task = trainer.cfg, trainer.task
    dataset_cfg = cfg.dataset
    if load_dataset:
        logger.info(f"loading train data for epoch {epoch}")
        task.load_dataset(dataset_cfg.train_subset, epoch=epoch, combine=combine, data_selector=data_selector)
    return task.get_batch_iterator(
        dataset=task.dataset(dataset_cfg.train_subset),
        max_tokens=dataset_cfg.max_tokens,
        max_sentences=dataset_cfg.batch_size,
        max_positions=_max_positions(trainer, dataset_cfg.max_tokens),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=dataset_cfg.required_batch_size_multiple,
        seed=cfg.common.seed + epoch if dataset_cfg.update_ordered_indices_seed else cfg.common.seed,
        num_shards=trainer.data_parallel_world_size if shard_batch_itr else 1,
        shard_id=trainer.data_parallel_rank if shard_batch_itr else 0,
        num_workers=dataset_cfg.num_workers,
        epoch=epoch,
        data_buffer_size=dataset_cfg.data_buffer_size,
        disable_iterator_cache=disable_iterator_cache,
        skip_remainder_batch=cfg.optimization.skip_remainder_batch,
        grouped_shuffling=dataset_cfg.grouped_shuffling,
        update_epoch_batch_itr=dataset_cfg.update_epoch_batch_itr,
    )


def valid_iterator(trainer: Any, subset: str, disable_iterator_cache: bool) -> Any:
    """Batches of a validation subset, in the task's order for scoring. Samples that are too long are an error unless
    the config says to skip them.
    """
    cfg, task = trainer.cfg, trainer.task
    dataset_cfg = cfg.dataset
    return task.get_batch_iterator(
        dataset=task.dataset_for_scoring(subset),
        max_tokens=dataset_cfg.max_tokens_valid,
        max_sentences=dataset_cfg.batch_size_valid,
        max_positions=_max_positions(trainer),
        ignore_invalid_inputs=dataset_cfg.skip_invalid_size_inputs_valid_test,
        required_batch_size_multiple=dataset_cfg.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=trainer.data_parallel_world_size,
        shard_id=trainer.data_parallel_rank,
        num_workers=dataset_cfg.num_workers,
        epoch=1,
        data_buffer_size=dataset_cfg.data_buffer_size,
        disable_iterator_cache=disable_iterator_cache,
        skip_remainder_batch=False,
    )


def check_same_start(trainer: Any, epoch_itr: Any) -> None:
    """See that all processes start from the same checkpoint: a shared file system may show a new file to some of them
    later than to others.

    Raises:
        CheckpointError: they do not; names the ranks.
    """
    own = (trainer.get_num_updates(), epoch_itr.epoch, len(epoch_itr))
    starts = distributed_utils.all_gather_list(own)
    for rank, start in enumerate(starts):
        if start != starts[0]:
            raise CheckpointError(
                f"{trainer.cfg.checkpoint.save_dir}: rank {rank} starts at update {start[0]} of epoch {start[1]} with "
                f"{start[2]} batches, rank 0 at update {starts[0][0]} of epoch {starts[0][1]} with {starts[0][2]}; "
                "all ranks must see the same checkpoints and the same data"
            )
