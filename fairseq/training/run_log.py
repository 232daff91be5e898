"""What a training run reports: the progress bar and log lines, `history.jsonl`, and the trackers.

run_log = RunLog(cfg, trainer)
with run_log.bar(len(epoch_itr)):
    progress = run_log.progress(itr, epoch)
    for samples in progress:
        ...
        run_log.update(progress)
    run_log.summary(progress, "train", run_log.with_wall("train"), epoch)
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Optional

from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics, progress_bar
from fairseq.logging.history import History
from fairseq.training import console


class RunLog:
    """Reports of one run. `history` is None if nothing is saved, and in all processes but the first.

    Args:
        cfg: the root config.
        trainer: its updates, its training time and the bits of a quantized model.
    """

    def __init__(self, cfg: Any, trainer: Any):
        self.cfg, self.trainer = cfg, trainer
        self.history: Optional[History] = None
        self.on_summary: Optional[Callable[[], None]] = None  # called after each epoch and validation
        self._recorded_bits: Optional[int] = None
        self._run_bar: Any = None  # only in a terminal, and only inside `bar`
        if distributed_utils.is_master(cfg.distributed_training) and not cfg.checkpoint.no_save:
            self.history = History.in_folder(cfg.checkpoint.save_dir)
            self.history.truncate(trainer.get_num_updates())
            self._recorded_bits = self.history.last("bits").get("num_bits")

    @contextlib.contextmanager
    def bar(self, batches_per_epoch: int) -> Iterator[None]:
        """Show the progress of the whole run in a terminal while the context lasts."""
        with console.run_bar(self.cfg, self.trainer.get_num_updates(), batches_per_epoch) as self._run_bar:
            yield

    def progress(self, itr: Any, epoch: int, prefix: Optional[str] = None) -> Any:
        """`itr` with a progress bar or log lines, as `common.log_format` asks for."""
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

    def update(self, progress: Any) -> None:
        """Report the update just done: a new number of bits at once, all else every `log_interval` updates."""
        self._update_bits(progress)
        num_updates = self.trainer.get_num_updates()
        progress.show(lambda: self.with_wall("train_inner"), num_updates)
        if num_updates % self.cfg.common.log_interval == 0:
            stats = self.with_wall("train_inner")
            progress.log(stats, tag="train_inner", step=num_updates)
            self.record("train_inner", stats)
            metrics.reset_meters("train_inner")

    def _update_bits(self, progress: Any) -> None:
        """Record each change of the bits. A short cycle of a schedule fits between two lines of `log_interval`."""
        quantized = self.trainer.quantized_training
        if quantized is None or quantized.bits == self._recorded_bits:
            return
        step, before, self._recorded_bits = self.trainer.get_num_updates(), self._recorded_bits, quantized.bits
        if before is not None:  # trackers join points by straight lines, so a step needs a point at each end
            progress.track({"num_bits": before}, tag="bits", step=step - 1)
        progress.track({"num_bits": quantized.bits}, tag="bits", step=step)
        self.record("bits", {"num_bits": quantized.bits})

    def summary(self, progress: Any, tag: str, stats: dict[str, Any], epoch: int) -> None:
        """Report the numbers of an epoch (`train`) or of a validation (the subset's name)."""
        progress.print(stats, tag=tag, step=self.trainer.get_num_updates())
        self.record(tag, stats, epoch)
        if self.on_summary is not None:
            self.on_summary()

    def with_wall(self, aggregator: str) -> dict[str, Any]:
        """The smoothed values of a metrics aggregator, and the seconds of training so far (`wall`)."""
        stats = metrics.get_smoothed_values(aggregator)
        stats["wall"] = round(self.trainer.cumulative_training_time(), 0)
        return stats

    def record(self, tag: str, stats: dict[str, Any], epoch: Optional[int] = None) -> None:
        """Append a line to `history.jsonl`."""
        if self.history is not None:
            self.history.append(tag, stats, self.trainer.get_num_updates(), epoch)
