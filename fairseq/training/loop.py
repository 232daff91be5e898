"""The training loop: epochs, validation, checkpoints and the reasons to stop, around `Trainer.train_step`.

    best = TrainingLoop(cfg, trainer, task).run(epoch_itr)

After each update the loop decides, in this order: has a limit been reached; is a checkpoint or a validation due; has
the validation metric stopped improving. A SIGTERM or Ctrl-C is a limit like the others, except that the checkpoint is
written first, and that only a complete epoch is validated, because the next start begins after it.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

from omegaconf import OmegaConf, open_dict

from fairseq import checkpoint_utils, utils
from fairseq.data import iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import ConfigError, FairseqError
from fairseq.logging import metrics, progress_bar
from fairseq.logging.history import DONE, History
from fairseq.training import console
from fairseq.training.early_stopping import limit_reached
from fairseq.training.interrupts import StopRequest

logger = logging.getLogger("fairseq_cli.train")


class TrainingLoop:
    """Runs `trainer` over its training set until a limit of the config is reached.

    Args:
        on_update: called after each update with what it logged, averaged over this update alone; returns a reason to
            stop, or None.
    """

    def __init__(
        self,
        cfg: Any,
        trainer: Any,
        task: Any,
        stop: Optional[StopRequest] = None,
        on_update: Optional[Callable[[dict[str, Any]], Optional[str]]] = None,
    ):
        self.cfg, self.trainer, self.task, self.on_update = cfg, trainer, task, on_update
        self._reason: Optional[str] = None  # why `on_update` wants to stop
        self.stop = stop or StopRequest()
        self.valid_subsets = cfg.dataset.valid_subset.split(",")
        self.metric = cfg.checkpoint.best_checkpoint_metric
        self._bits: Optional[int] = None  # of the last update, once it has been recorded
        self._run_bar: Any = None  # of a terminal, while `run` lasts
        self.history: Optional[History] = None
        if distributed_utils.is_master(cfg.distributed_training) and not cfg.checkpoint.no_save:
            self.history = History.in_folder(cfg.checkpoint.save_dir)
            self.history.truncate(trainer.get_num_updates())
            self._bits = self.history.last("bits").get("num_bits")

    def run(self, epoch_itr: Any) -> Optional[float]:
        """Train from where `epoch_itr` stands; returns the best value of `checkpoint.best_checkpoint_metric`."""
        start = time.perf_counter()
        with console.run_bar(self.cfg, self.trainer.get_num_updates(), len(epoch_itr)) as self._run_bar:
            self._run_epochs(epoch_itr)
        if not self.stop.requested:
            if self.trainer.quantization is not None:
                logger.info(self.trainer.quantization.summary())
            self._record(DONE, {}, None)
            logger.info(f"done training in {time.perf_counter() - start:.1f} seconds")
        return self.trainer.best_score

    def _run_epochs(self, epoch_itr: Any) -> None:
        max_epoch = self.cfg.optimization.max_epoch or float("inf")
        should_stop = limit_reached(self.cfg, self.trainer) is not None
        while not should_stop and epoch_itr.next_epoch_idx <= max_epoch:
            lr = self.trainer.get_lr()
            if lr <= self.cfg.optimization.stop_min_lr:
                logger.info(
                    f"stopping training because current learning rate ({lr}) is smaller than or equal to "
                    f"minimum learning rate (--stop-min-lr={self.cfg.optimization.stop_min_lr})"
                )
                break
            valid_losses, should_stop = self._train_epoch(epoch_itr)
            if should_stop:
                break
            self.trainer.lr_step(epoch_itr.epoch, valid_losses[0])
            epoch_itr = self.trainer.get_train_iterator(
                epoch_itr.next_epoch_idx,
                load_dataset=self.task.has_sharded_data("train"),
                disable_iterator_cache=False,
            )

    # -- one epoch ---------------------------------------------------------------------------------------------------

    def _progress(self, itr: Any, epoch: int, prefix: Optional[str] = None) -> Any:
        common = self.cfg.common
        master = distributed_utils.is_master(self.cfg.distributed_training)
        return progress_bar.progress_bar(
            itr,
            log_format=console.log_format(self.cfg),
            log_file=common.log_file if master else None,
            log_interval=common.log_interval,
            epoch=epoch,
            prefix=prefix,
            tensorboard_logdir=common.tensorboard_logdir if master else None,
            wandb_project=common.wandb_project if master else None,
            wandb_run_name=os.environ.get("WANDB_NAME", os.path.basename(self.cfg.checkpoint.save_dir)),
            azureml_logging=common.azureml_logging if master else False,
            run_bar=self._run_bar,
        )

    def _train_epoch(self, epoch_itr: Any) -> tuple[list[Optional[float]], bool]:
        cfg, trainer = self.cfg, self.trainer
        itr = epoch_itr.next_epoch_itr(
            fix_batches_to_gpus=cfg.distributed_training.fix_batches_to_gpus,
            shuffle=epoch_itr.next_epoch_idx > cfg.dataset.curriculum,
        )
        update_freqs = cfg.optimization.update_freq
        update_freq = update_freqs[min(epoch_itr.epoch, len(update_freqs)) - 1]
        itr = iterators.GroupedIterator(
            itr, update_freq, skip_remainder_batch=cfg.optimization.skip_remainder_batch, every_item=True
        )
        progress = self._progress(itr, epoch_itr.epoch)
        progress.update_config(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
        trainer.begin_epoch(epoch_itr.epoch)
        logger.info("Start iterating over samples")
        valid_losses: list[Optional[float]] = [None]
        should_stop = False
        for samples in self._until_interrupted(progress, epoch_itr):
            logged = self._update(samples)
            if logged is not None:
                self._note_bits(progress)
                progress.show(self._inner_stats, self.trainer.get_num_updates())
                self._log_inner(progress)
            valid_losses, should_stop = self._validate_and_save(epoch_itr, end_of_epoch=not itr.has_next())
            if should_stop:
                break
        logger.info(f"end of epoch {epoch_itr.epoch} (average epoch stats below)")
        stats = self._with_wall(metrics.get_smoothed_values("train"))
        progress.print(stats, tag="train", step=trainer.get_num_updates())
        self._record("train", stats, epoch_itr.epoch)
        metrics.reset_meters("train")
        # reading can end early after a signal, without a last update to decide
        return valid_losses, should_stop or self.stop.requested

    def _update(self, samples: Any) -> Any:
        with metrics.aggregate("train_inner"):
            if self.on_update is None:
                return self.trainer.train_step(samples)
            with metrics.aggregate() as own:
                logged = self.trainer.train_step(samples)
        self._reason = self.on_update(own.get_smoothed_values())
        return logged

    def _until_interrupted(self, progress: Any, epoch_itr: Any) -> Iterator[Any]:
        """The samples of the epoch; a failure of data loading after a signal is part of stopping, not an error."""
        try:
            yield from progress
        except FairseqError:
            raise
        except Exception:
            # the signal also reaches data-loading workers when it is sent to the whole process group
            if not self.stop.requested or self.trainer.data_parallel_world_size > 1:
                raise
            self._save_stopped(epoch_itr)

    def _note_bits(self, progress: Any) -> None:
        """Record the bits of an update where they differ from the last one's: log lines, one in `log_interval` updates,
        would show next to nothing of short cycles.
        """
        quantization = self.trainer.quantization
        if quantization is None or quantization.bits == self._bits:
            return
        step, before, self._bits = self.trainer.get_num_updates(), self._bits, quantization.bits
        if before is not None:  # trackers join points by straight lines: two of them make a step
            progress.track({"num_bits": before}, tag="bits", step=step - 1)
        progress.track({"num_bits": self._bits}, tag="bits", step=step)
        self._record("bits", {"num_bits": self._bits}, None)

    def _log_inner(self, progress: Any) -> None:
        num_updates = self.trainer.get_num_updates()
        if num_updates % self.cfg.common.log_interval == 0:
            stats = self._inner_stats()
            progress.log(stats, tag="train_inner", step=num_updates)
            self._record("train_inner", stats, None)
            metrics.reset_meters("train_inner")

    def _inner_stats(self) -> dict[str, Any]:
        """Numbers since the last line of `log_interval`."""
        return self._with_wall(metrics.get_smoothed_values("train_inner"))

    def _with_wall(self, stats: dict[str, Any]) -> dict[str, Any]:
        stats["wall"] = round(self.trainer.cumulative_training_time(), 0)
        return stats

    def _record(self, tag: str, stats: dict[str, Any], epoch: Optional[int]) -> None:
        if self.history is not None:
            self.history.append(tag, stats, self.trainer.get_num_updates(), epoch)

    # -- validate, save, stop ----------------------------------------------------------------------------------------

    def _validate_and_save(self, epoch_itr: Any, end_of_epoch: bool) -> tuple[list[Optional[float]], bool]:
        if self.stop.agreed(self.trainer.device):
            self._save_stopped(epoch_itr)
            if not end_of_epoch:
                return [None], True
        dataset, checkpoint = self.cfg.dataset, self.cfg.checkpoint
        num_updates = self.trainer.get_num_updates()
        reason = self._reason or limit_reached(self.cfg, self.trainer)
        if reason is not None:
            logger.info(reason)
        ready = num_updates >= dataset.validate_after_updates
        every = checkpoint.save_interval_updates
        mid_epoch_save = bool(every > 0 and num_updates > 0 and num_updates % every == 0 and ready)
        do_save = bool(
            (end_of_epoch and epoch_itr.epoch % checkpoint.save_interval == 0) or reason is not None or mid_epoch_save
        )
        validate_every = dataset.validate_interval_updates
        do_validate = bool(
            (not end_of_epoch and do_save)
            or (end_of_epoch and epoch_itr.epoch % dataset.validate_interval == 0)
            or reason is not None
            or (validate_every > 0 and num_updates > 0 and num_updates % validate_every == 0)
        )
        valid_losses: list[Optional[float]] = [None]
        if do_validate and ready and not dataset.disable_validation:
            valid_losses = self.validate(epoch_itr)
            early = self.trainer.early_stopping.observe(valid_losses[0])
            if early is not None:
                logger.info(early)
                reason = early
        if do_save or reason is not None:
            self._save(epoch_itr, valid_losses[0])
        if not self.stop.requested and reason is None and self.stop.agreed(self.trainer.device):
            self._save_stopped(epoch_itr)  # the signal came since this update began to be looked at
        return valid_losses, reason is not None or self.stop.requested

    def _save(self, epoch_itr: Any, valid_loss: Optional[float]) -> None:
        checkpoint_utils.save_checkpoint(self.cfg.checkpoint, self.trainer, epoch_itr, valid_loss)

    def _save_stopped(self, epoch_itr: Any) -> None:
        """Save what a signal interrupts; `no_last_checkpoints` is set aside, since nothing else would hold it."""
        checkpoint = self.cfg.checkpoint.copy()
        with open_dict(checkpoint):
            if checkpoint.no_last_checkpoints and not checkpoint.no_save:
                logger.warning("checkpoint_last.pt is written in spite of no_last_checkpoints: the run was interrupted")
                checkpoint.no_last_checkpoints = False
        checkpoint_utils.save_checkpoint(checkpoint, self.trainer, epoch_itr, None)
        # launchers end all processes when the first one leaves: none does before the file is written
        distributed_utils.barrier(self.trainer.device)

    def check_metric(self) -> None:
        """Score one validation batch, so that a misspelt `best_checkpoint_metric` costs seconds and not an epoch.

        Raises:
            ConfigError: validation does not report `checkpoint.best_checkpoint_metric`.
        """
        if self.metric == "loss" or self.cfg.dataset.disable_validation:
            return
        batch = self.trainer.get_valid_iterator(self.valid_subsets[0]).first_batch
        if not batch or batch == "DUMMY":
            return
        quantization = self.trainer.quantization
        checking = contextlib.nullcontext() if quantization is None else quantization.while_checking()
        with metrics.aggregate(new_root=True) as aggregator, checking:
            self.trainer.valid_step(batch)
        self._require_metric(aggregator.get_smoothed_values())

    def _require_metric(self, stats: dict[str, Any]) -> None:
        if self.metric not in stats:
            raise ConfigError(
                f"checkpoint.best_checkpoint_metric={self.metric}: validation does not report it; "
                f"it reports {', '.join(stats)}"
            )

    def validate(self, epoch_itr: Any) -> list[Optional[float]]:
        """Evaluate every subset of `dataset.valid_subset`; returns the best-checkpoint metric of each, first subset
        first.
        """
        if self.cfg.dataset.fixed_validation_seed is not None:
            utils.seed_everything(self.cfg.dataset.fixed_validation_seed)
        self.trainer.begin_valid_epoch(epoch_itr.epoch)
        if self.trainer.quantization is not None:
            self.trainer.quantization.warn_of_short_ranges()
        return [self._validate_subset(subset, epoch_itr) for subset in self.valid_subsets]

    def _validate_subset(self, subset: str, epoch_itr: Any) -> float:
        logger.info(f'begin validation on "{subset}" subset')
        itr = self.trainer.get_valid_iterator(subset).next_epoch_itr(shuffle=False, set_dataset_epoch=False)
        progress = self._progress(itr, epoch_itr.epoch, prefix=f"valid on '{subset}' subset")
        max_steps = self.cfg.dataset.max_valid_steps
        with metrics.aggregate(new_root=True) as aggregator:
            for index, sample in enumerate(progress):
                if max_steps is not None and index >= max_steps:
                    break
                self.trainer.valid_step(sample)
        stats = aggregator.get_smoothed_values()
        stats["num_updates"] = self.trainer.get_num_updates()
        self._require_metric(stats)
        best = self.trainer.best_score
        if best is not None and subset == self.valid_subsets[0]:
            better = max if self.cfg.checkpoint.maximize_best_checkpoint_metric else min
            stats[f"best_{self.metric}"] = better(best, stats[self.metric])
        progress.print(stats, tag=subset, step=self.trainer.get_num_updates())
        self._record(subset, stats, epoch_itr.epoch)
        return stats[self.metric]
