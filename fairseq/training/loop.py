"""The training loop: epochs, validation, checkpoints and the reasons to stop, around `Trainer.train_step`.

    best = TrainingLoop(cfg, trainer, task).run(epoch_itr)

After each update the loop decides, in this order: has a limit been reached; is a checkpoint or a validation due; has
the validation metric stopped improving. A SIGTERM or Ctrl-C is a limit like the others, except that the checkpoint is
written first, and that only a complete epoch is validated, because the next start begins after it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

from omegaconf import OmegaConf, open_dict

from fairseq import checkpoint_utils, utils
from fairseq.data import iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import ConfigError, FairseqError
from fairseq.logging import metrics
from fairseq.logging.history import DONE
from fairseq.training.cost import as_record
from fairseq.training.due import due
from fairseq.training.early_stopping import limit_reached
from fairseq.training.interrupts import StopRequest
from fairseq.training.run_log import RunLog

logger = logging.getLogger("fairseq_cli.train")


class TrainingLoop:
    """Runs `trainer` over its training set until a limit of the config is reached.

    Args:
        on_update: called after each update with what it logged, averaged over this update alone; returns a reason to
            stop, or None.
        on_validation: called with the numbers of each validation of the first subset, `num_updates` among them; the
            same.
    """

    def __init__(
        self,
        cfg: Any,
        trainer: Any,
        task: Any,
        stop: Optional[StopRequest] = None,
        on_update: Optional[Callable[[dict[str, Any]], Optional[str]]] = None,
        on_validation: Optional[Callable[[dict[str, Any]], Optional[str]]] = None,
    ):
        self.cfg, self.trainer, self.task = cfg, trainer, task
        self.on_update, self.on_validation = on_update, on_validation
        self._reason: Optional[str] = None  # why `on_update` stops the run
        self._reason_of_validation: Optional[str] = None
        self.stop = stop or StopRequest()
        self.valid_subsets = cfg.dataset.valid_subset.split(",")
        self.metric = cfg.checkpoint.best_checkpoint_metric
        self.run_log = RunLog(cfg, trainer)

    def run(self, epoch_itr: Any) -> Optional[float]:
        """Train from where `epoch_itr` stands; returns the best value of `checkpoint.best_checkpoint_metric`."""
        start = time.perf_counter()
        with self.run_log.bar(len(epoch_itr)):
            self._run_epochs(epoch_itr)
        if not self.stop.requested:
            if self.trainer.quantized_training is not None:
                logger.info(self.trainer.quantized_training.summary())
            if self.trainer.pipelined is not None and self.cfg.distributed_training.pp_report:
                self.trainer.pipelined.report(self.cfg.checkpoint.save_dir)
            self.run_log.record(DONE, self._cost())
            logger.info(f"done training in {time.perf_counter() - start:.1f} seconds")
        return self.trainer.best_score

    def _cost(self) -> dict[str, float]:
        counting = self.trainer.quantized_training or self.trainer.full_precision_cost
        return {} if counting is None else as_record(counting.meter.total)

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
        progress = self.run_log.progress(itr, epoch_itr.epoch)
        progress.update_config(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
        trainer.begin_epoch(epoch_itr.epoch)
        logger.info("Start iterating over samples")
        valid_losses: list[Optional[float]] = [None]
        should_stop = False
        for samples in self._until_interrupted(progress, epoch_itr):
            logged = self._update(samples)
            if logged is not None:
                self.run_log.update(progress)
            valid_losses, should_stop = self._validate_and_save(epoch_itr, end_of_epoch=not itr.has_next())
            if should_stop:
                break
        logger.info(f"end of epoch {epoch_itr.epoch} (average epoch stats below)")
        self.run_log.summary(progress, "train", self.run_log.with_wall("train"), epoch_itr.epoch)
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

    # -- validate, save, stop ----------------------------------------------------------------------------------------

    def _validate_and_save(self, epoch_itr: Any, end_of_epoch: bool) -> tuple[list[Optional[float]], bool]:
        if self.stop.agreed(self.trainer.device):
            self._save_stopped(epoch_itr)
            if not end_of_epoch:
                return [None], True
        reason = self._reason or limit_reached(self.cfg, self.trainer)
        if reason is not None:
            logger.info(reason)
        save, validate = due(
            self.cfg, self.trainer.get_num_updates(), epoch_itr.epoch, end_of_epoch, stops=reason is not None
        )
        valid_losses: list[Optional[float]] = [None]
        if validate and not self.cfg.dataset.disable_validation:
            valid_losses = self.validate(epoch_itr)
            if self.trainer.quantized_training is not None and self.trainer.quantized_training.is_waiting:
                valid_losses = [None for _ in valid_losses]  # scores of another model than the one that is trained for
            early = self.trainer.early_stopping.observe(valid_losses[0]) or self._reason_of_validation
            if early is not None:
                logger.info(early)
                reason = early
        if save or reason is not None:
            self._save(epoch_itr, valid_losses[0])
        if not self.stop.requested and reason is None and self.stop.agreed(self.trainer.device):
            self._save_stopped(epoch_itr)  # the signal arrived during this validation or save
        return valid_losses, reason is not None or self.stop.requested

    def _save(self, epoch_itr: Any, valid_loss: Optional[float]) -> None:
        checkpoint_utils.save_checkpoint(self.cfg.checkpoint, self.trainer, epoch_itr, valid_loss)

    def _save_stopped(self, epoch_itr: Any) -> None:
        """Save what a signal interrupts; `no_last_checkpoints` is set aside, since nothing else would hold it."""
        checkpoint = self.cfg.checkpoint.copy()
        with open_dict(checkpoint):
            if checkpoint.no_last_checkpoints and not checkpoint.no_save:
                logger.warning("checkpoint_last.pt is written despite no_last_checkpoints: the run was interrupted")
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
        if not batch:
            return
        quantization = self.trainer.quantized_training
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
        if self.trainer.quantized_training is not None:
            self.trainer.quantized_training.warn_of_short_ranges()
        return [self._validate_subset(subset, epoch_itr) for subset in self.valid_subsets]

    def _validate_subset(self, subset: str, epoch_itr: Any) -> float:
        logger.info(f'begin validation on "{subset}" subset')
        itr = self.trainer.get_valid_iterator(subset).next_epoch_itr(shuffle=False, set_dataset_epoch=False)
        progress = self.run_log.progress(itr, epoch_itr.epoch, prefix=f"valid on '{subset}' subset")
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
        self.run_log.summary(progress, subset, stats, epoch_itr.epoch)
        if self.on_validation is not None and subset == self.valid_subsets[0]:
            self._reason_of_validation = self.on_validation(dict(stats))
        return stats[self.metric]
