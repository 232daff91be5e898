"""fairseq-train: train a model from command-line flags (`fairseq-hydra-train` does the same from YAML).

fairseq-train RTE-bin --task sentence_prediction --arch roberta_base --criterion sentence_prediction --num-classes 2 ...
"""

import logging
import os
import sys
from typing import Any, Optional

from fairseq_cli.entry import command

logger = logging.getLogger("fairseq_cli.train")


def setup_logging() -> None:
    """fairseq's log line on stdout; the level comes from LOGLEVEL."""
    logging.basicConfig(
        format="%(asctime)s | %(levelname)s | %(name)s | %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        level=os.environ.get("LOGLEVEL", "INFO").upper(),
        stream=sys.stdout,
    )


def main(cfg: Any, on_validation: Any = None) -> Optional[float]:
    """Train as `cfg` says; returns the best value of `checkpoint.best_checkpoint_metric`, None if nothing was
    validated. Exits with 128 + signal where SIGTERM or Ctrl-C stopped it.

    Args:
        on_validation: see `TrainingLoop`.
    """
    from fairseq.dataclass.utils import as_config
    from fairseq.training.console import short_lines
    from fairseq.training.run_record import RunRecord

    cfg = as_config(cfg)
    with short_lines(cfg), RunRecord(cfg) as record:
        best, exit_code = _train(cfg, record, on_validation)
    if exit_code:
        # here no frame holds the data loader any more: its workers have been shut down
        sys.exit(exit_code)
    return best


def _train(cfg: Any, record: Any, on_validation: Any) -> tuple[Optional[float], int]:
    """The best value, and the exit code (0 unless a signal stopped the run)."""
    from fairseq import checkpoint_utils, tasks, utils
    from fairseq.allocator import keep_freed_memory, persistent_allocations, return_free_memory
    from fairseq.data import data_utils
    from fairseq.data.iterating.loading import deaths_of_workers
    from fairseq.data.part_of_dataset import load_subset
    from fairseq.distributed import utils as distributed_utils
    from fairseq.logging import metrics
    from fairseq.logging.side_outputs import report_all_once
    from fairseq.plugins import import_user_module
    from fairseq.trainer import Trainer
    from fairseq.training.batches import check_same_start
    from fairseq.training.building import build_model
    from fairseq.training.console import changed_settings
    from fairseq.training.interrupts import StopRequest
    from fairseq.training.loop import TrainingLoop
    from fairseq.training.previous_runs import keep_previous_run
    from fairseq.training.quantize import config_of
    from fairseq.training.quantized import record_errors
    from fairseq.training.setup import check_sizes, check_start, log_model, log_setup
    from fairseq.training.trainable import select_trainable

    report_all_once(logging.getLogger().handlers)
    check_sizes(cfg)
    config_of(cfg.quantization)
    keep_freed_memory()
    import_user_module(cfg.common)
    metrics.reset()
    if distributed_utils.is_master(cfg.distributed_training):
        checkpoint_utils.verify_checkpoint_directory(cfg.checkpoint.save_dir)
    utils.seed_everything(cfg.common.seed)
    logger.info(cfg, extra={"terminal": lambda: changed_settings(cfg)})

    task = tasks.setup_task(cfg.task)
    task.check_sizes()
    check_start(cfg)
    with persistent_allocations():
        model = build_model(cfg, task)
    criterion = task.build_criterion(cfg.criterion)
    trainable = select_trainable(model, cfg.optimization.trainable)
    keep_freed_memory(for_elements=trainable.total)
    log_model(task, model, criterion, trainable)

    # validation data first: it is small, and errors of the data folder are reported before training data is read
    data_utils.raise_if_valid_subsets_unintentionally_ignored(cfg)
    for subset in cfg.dataset.valid_subset.split(","):
        load_subset(task, subset, combine=bool(cfg.dataset.combine_valid_subsets), epoch=1)

    trainer = Trainer(cfg, task, model, criterion)
    log_setup(cfg, trainer)
    if trainer.quantized_training is not None and trainer.is_data_parallel_master:
        trainer.quantized_training.announce(None if cfg.checkpoint.no_save else cfg.checkpoint.save_dir)
    with persistent_allocations():
        _, epoch_itr = checkpoint_utils.load_checkpoint(
            cfg.checkpoint, trainer, disable_iterator_cache=task.has_sharded_data("train")
        )
    return_free_memory()  # what the file's tensors took
    check_same_start(cfg.checkpoint.save_dir, trainer.get_num_updates(), epoch_itr)
    if trainer.is_data_parallel_master and not cfg.checkpoint.no_save:
        start, own = checkpoint_utils.starting_point(cfg.checkpoint, trainer)
        continues = own and trainer.get_num_updates() > 0
        keep_previous_run(cfg, start, continues)
        record.begin(trainer, trainable, continues)
        if trainer.quantized_training is not None:
            trainer.quantized_training.write_plan(cfg.checkpoint.save_dir)
    record_errors(cfg, trainer)
    for subset in cfg.dataset.valid_subset.split(","):
        # builds the batches, so that a sample that is too long is reported now and not after the first epoch
        logger.info(f'begin dry-run validation on "{subset}" subset')
        trainer.get_valid_iterator(subset)

    with StopRequest() as stop, deaths_of_workers():
        loop = TrainingLoop(cfg, trainer, task, stop, on_validation=on_validation)
        loop.run_log.on_summary = record.update
        loop.check_metric()
        best = loop.run(epoch_itr)
        if cfg.checkpoint.write_checkpoints_asynchronously:
            checkpoint_utils.finish_writing()
    if stop.signal is not None:
        logger.warning(
            f"stopped by {stop.signal.name} at update {trainer.get_num_updates()}; "
            f"the same command with {' '.join(_to_go_on(cfg.checkpoint))} continues from there"
        )
    record.end("done" if stop.signal is None else "stopped")
    return best, stop.exit_code


def _to_go_on(checkpoint: Any) -> list[str]:
    """The settings with which the next start continues from this run: `restore_file` and the resets of a
    fine-tuning config would start a new run.
    """
    from fairseq.checkpoint_utils import DEFAULT_RESTORE_FILE

    settings = [f"checkpoint.save_dir={checkpoint.save_dir}"]
    if checkpoint.restore_file != DEFAULT_RESTORE_FILE:
        settings.append(f"checkpoint.restore_file={DEFAULT_RESTORE_FILE}")
    resets = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")
    return settings + [f"checkpoint.{name}=false" for name in resets if checkpoint[name]]


@command
def cli_main(modify_parser: Any = None) -> None:
    from fairseq import options
    from fairseq.dataclass.finish import check_complete
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, modify_parser=modify_parser)
    setup_logging()
    cfg = convert_namespace_to_omegaconf(args)
    check_complete(cfg, flags=True)
    # imported only now: `-h` and wrong flags need no torch
    from fairseq.distributed.utils import call_main

    call_main(cfg, main)


if __name__ == "__main__":
    cli_main()
