"""The trainer: one optimizer update at a time, over any task, model and criterion.

    trainer = Trainer(cfg, task, model, criterion)
    epoch_itr = trainer.get_train_iterator(epoch=1)
    for samples in GroupedIterator(epoch_itr.next_epoch_itr(), update_freq):
        trainer.train_step(samples)

An update sums the loss over `update_freq` micro-batches (and processes), divides the gradient by the summed sample
size, clips it and steps. Every update seeds torch with `seed + num_updates`, so dropout does not depend on how often
a run was interrupted. The parts live in `fairseq.training`; this class holds their state and keeps fairseq's
interface.
"""

import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Optional

import torch
from torch import nn

from fairseq import optim
from fairseq.checkpoint.contents import load_checkpoint_to_cpu
from fairseq.distributed import utils as distributed_utils
from fairseq.distributed.data_parallel import wrap_model
from fairseq.errors import TrainingError
from fairseq.logging import metrics
from fairseq.models.ema import build_ema
from fairseq.modules_by_path import get_by_path as _get_module_by_path  # noqa: F401  (fairseq's names)
from fairseq.modules_by_path import set_by_path as _set_module_by_path  # noqa: F401
from fairseq.modules_by_path import shared_paths as _catalog_shared_params  # noqa: F401
from fairseq.nan_detector import NanDetector
from fairseq.optim import lr_scheduler
from fairseq.optim.loss_scale import LossScale
from fairseq.optim.rows import use_row_gradients
from fairseq.training import batches, state, statistics
from fairseq.training.batches import DeviceBatches
from fairseq.training.cost import FullPrecisionCost
from fairseq.training.early_stopping import EarlyStopping
from fairseq.training.gradients import UpdateGradients, trained_parameters
from fairseq.training.precision import Precision, choose_device, compile_model
from fairseq.training.quantized import QuantizedTraining

if TYPE_CHECKING:
    from fairseq.training.pipelined import Pipelined

logger = logging.getLogger(__name__)


class Trainer:
    """Owns model, criterion, optimizer and learning-rate schedule of a run.

    Args:
        cfg: the root config (`FairseqConfig`).
        task, model, criterion: built by `task.build_model`, `task.build_criterion`.
        quantizer: fairseq's argument for its product quantization. It is stored and has no effect.
    """

    def __init__(self, cfg: Any, task: Any, model: nn.Module, criterion: nn.Module, quantizer: Any = None):
        self.cfg = cfg
        self.task = task
        self.quantizer = quantizer
        self.device = choose_device(cfg.common, cfg.distributed_training.device_id)
        self.precision = Precision.from_config(cfg.common, self.device)
        self._model = model.to(self.device)
        self._criterion = criterion.to(self.device)
        self.loss_scale: Optional[LossScale] = None
        if self.precision.autocast_dtype is torch.float16:
            self.loss_scale = LossScale.from_config(
                cfg.common, distributed_utils.get_world_size(), cfg.optimization.update_freq[0]
            )
        self.ema = None
        if cfg.ema.store_ema:
            seed = load_checkpoint_to_cpu(cfg.ema.ema_seed_model) if cfg.ema.ema_seed_model else {}
            self.ema = build_ema(self._model, cfg.ema, self.device, seed.get("model"))
        if cfg.common.compile:
            compile_model(self._model)
        # layers spread over processes, None otherwise
        self.pipelined: Optional[Pipelined] = None
        self._wrapped_model = self._model
        kind: Any = UpdateGradients
        if cfg.distributed_training.pipeline_model_parallel:
            from fairseq.training import pipelined  # torch's pipelines take time to import

            self.pipelined = pipelined.Pipelined.of(cfg, self._model, self._criterion, task, self.device)
            kind = partial(pipelined.PipelineGradients, pipelined=self.pipelined)
        else:
            self._wrapped_model = wrap_model(cfg.distributed_training, self._model, self.device)
        # bits and costs of a quantized model, None for any other
        self.quantized_training = QuantizedTraining.of(self._model, cfg.optimization, self.device)
        if self.quantized_training is not None and self.pipelined is not None:
            self.quantized_training.shards = self._shards
        self.full_precision_cost = FullPrecisionCost.of(self._model, cfg.common.count_bitops, self.device)
        self._optimizer: Optional[Any] = None
        self._lr_scheduler: Optional[Any] = None
        self._num_updates = 0
        self.optimizer_history: list[dict[str, Any]] = []
        self.best_score: Optional[float] = None
        self.early_stopping = EarlyStopping(cfg.checkpoint.patience, cfg.checkpoint.maximize_best_checkpoint_metric)
        self._start_time = time.perf_counter()
        metrics.log_start_time("wall", priority=790, round=0)  # fairseq needs it in the checkpoints it resumes
        self._previous_training_time = 0.0
        self._batches = DeviceBatches(self.device)
        self._gradients = kind(
            task=task,
            model=self._wrapped_model,
            criterion=self._criterion,
            precision=self.precision,
            batches=self._batches,
            clip_norm=cfg.optimization.clip_norm,
            loss_scale=self.loss_scale,
            quantized_training=self.quantized_training,
            cost=self.full_precision_cost,
        )
        # read once: attribute access on an OmegaConf node costs as much as a small kernel
        self._seed = cfg.common.seed
        self._clip_norm = cfg.optimization.clip_norm
        self._empty_cache_freq = cfg.common.empty_cache_freq
        self._retries = cfg.common.amp_batch_retries if cfg.common.amp else 0

    # -- what plugins and the loop read ------------------------------------------------------------------------------

    @property
    def model(self) -> nn.Module:
        """The model as it is trained: wrapped for data parallelism if there are several processes."""
        return self._wrapped_model

    @property
    def criterion(self) -> nn.Module:
        return self._criterion

    def get_model(self) -> nn.Module:
        """The model without any wrapper."""
        return self._model

    def get_criterion(self) -> nn.Module:
        return self._criterion

    @property
    def optimizer(self) -> Any:
        if self._optimizer is None:
            self._build_optimizer()
        return self._optimizer

    @property
    def lr_scheduler(self) -> Any:
        if self._lr_scheduler is None:
            self._build_optimizer()
        return self._lr_scheduler

    @property
    def data_parallel_world_size(self) -> int:
        return distributed_utils.get_world_size() if self.pipelined is None else self.pipelined.pipeline.num_replicas

    @property
    def data_parallel_rank(self) -> int:
        return distributed_utils.get_rank() if self.pipelined is None else self.pipelined.pipeline.replica

    @property
    def _shards(self) -> tuple[int, int]:
        """How many processes share the batches, and the number of this one among them."""
        return self.data_parallel_world_size, self.data_parallel_rank

    @property
    def is_data_parallel_master(self) -> bool:
        return distributed_utils.get_rank() == 0

    @property
    def should_save_checkpoint_on_current_rank(self) -> bool:
        return self.is_data_parallel_master

    @property
    def always_call_state_dict_during_save_checkpoint(self) -> bool:
        return False

    @property
    def checkpoint_suffix(self) -> str:
        return self.cfg.checkpoint.checkpoint_suffix or ""

    def get_num_updates(self) -> int:
        return self._num_updates

    def get_lr(self) -> float:
        return self.optimizer.get_lr()

    def get_meter(self, name: str) -> Any:
        return metrics.get_meter("train", name)

    def cumulative_training_time(self) -> float:
        """Seconds of training so far, earlier parts of a resumed run included."""
        return time.perf_counter() - self._start_time + self._previous_training_time

    def add_previous_training_time(self, seconds: float) -> None:
        """Count the training time of the run that this one resumes."""
        self._previous_training_time += seconds

    # -- optimizer and learning rate ---------------------------------------------------------------------------------

    def _build_optimizer(self) -> None:
        trained = trained_parameters((self._model, self._criterion)) if self.pipelined is None else self.pipelined.own
        self._optimizer = optim.build_optimizer(self.cfg.optimizer, trained)
        self._optimizer.loss_scale = self.loss_scale
        if (
            not self.cfg.optimization.dense_embedding_gradients
            and self._optimizer.supports_row_gradients
            and distributed_utils.get_world_size() == 1
            and not self.cfg.common.compile  # row gradients cannot be traced
        ):
            use_row_gradients(self._model)
        self._lr_scheduler = lr_scheduler.build_lr_scheduler(self.cfg.lr_scheduler, self._optimizer)
        self._lr_scheduler.step_update(0)

    def lr_reinit(self) -> None:
        """Build a new learning-rate schedule, at the current update."""
        self._lr_scheduler = lr_scheduler.build_lr_scheduler(self.cfg.lr_scheduler, self.optimizer)
        self._lr_scheduler.step_update(self._num_updates)

    def lr_step_begin_epoch(self, epoch: int) -> Any:
        self.lr_scheduler.step_begin_epoch(epoch)
        return self.lr_step_update()

    def lr_step(self, epoch: int, val_loss: Optional[float] = None) -> Any:
        """Step the schedule at the end of `epoch`, with its `val_loss` if there is one."""
        self.lr_scheduler.step(epoch, val_loss)
        return self.lr_step_update()

    def lr_step_update(self) -> Any:
        new_lr = self.lr_scheduler.step_update(self._num_updates)
        for key, value in new_lr.items() if isinstance(new_lr, dict) else [("lr", new_lr)]:
            metrics.log_scalar(key if key in ("lr", "default") else f"lr_{key}", value, weight=0, priority=300)
        return new_lr

    def set_num_updates(self, num_updates: int) -> None:
        self._num_updates = num_updates
        self.lr_step_update()
        metrics.log_scalar("num_updates", num_updates, weight=0, priority=200)

    # -- data --------------------------------------------------------------------------------------------------------

    def get_train_iterator(
        self,
        epoch: int,
        combine: bool = True,
        load_dataset: bool = True,
        data_selector: Any = None,
        shard_batch_itr: bool = True,
        disable_iterator_cache: bool = False,
    ) -> Any:
        """The `EpochBatchIterator` over this process's share of the training set."""
        itr = batches.train_iterator(
            self.cfg,
            self.task,
            self._model,
            epoch=epoch,
            combine=combine,
            load_dataset=load_dataset,
            data_selector=data_selector,
            shard_batch_itr=shard_batch_itr,
            disable_iterator_cache=disable_iterator_cache,
            shards=self._shards,
        )
        self._batches.take_dummies_from(itr)
        if self.quantized_training is not None:
            self.quantized_training.lay_out(len(itr))
        return itr

    def get_valid_iterator(self, subset: str, disable_iterator_cache: bool = False) -> Any:
        """The `EpochBatchIterator` over this process's share of a validation set."""
        itr = batches.valid_iterator(self.cfg, self.task, self._model, subset, disable_iterator_cache, self._shards)
        self._batches.take_dummies_from(itr)
        return itr

    def begin_epoch(self, epoch: int) -> None:
        logger.info(f"begin training epoch {epoch}")
        self.lr_step_begin_epoch(epoch)
        self.task.begin_epoch(epoch, self.get_model())

    def begin_valid_epoch(self, epoch: int) -> None:
        self.task.begin_valid_epoch(epoch, self.get_model())

    def reset_dummy_batch(self, batch: Any) -> None:
        """Set the batch that a process without one uses."""
        self._batches.dummy_batch = batch

    # -- one update --------------------------------------------------------------------------------------------------

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def _seed_update(self) -> None:
        torch.manual_seed(self._seed + self._num_updates)

    @metrics.aggregate("train")
    def train_step(self, samples: list[Any], raise_oom: bool = False) -> Optional[dict[str, Any]]:
        """One update from a list of micro-batches; returns what was logged, or None if the update was skipped.

        Args:
            raise_oom: fairseq's argument. It has no effect: running out of memory is always an error.

        Raises:
            TrainingError: a non-finite loss or gradient; names the update and the module.
        """
        self._seed_update()
        if not self._model.training:  # walks every module
            self._model.train()
            self._criterion.train()
        self.zero_grad()
        metrics.log_start_time("train_wall", priority=800, round=0)
        logging_outputs, sample_size, grad_norm = self._gradients.compute(samples, self._num_updates, self.optimizer)
        retries = self._retries
        while not torch.isfinite(grad_norm):
            if self.loss_scale is None:
                self._explain_non_finite(samples)
            self._overflow(self.loss_scale, "trying the same batch again" if retries else "ignoring gradient")
            if not retries:
                metrics.log_stop_time("train_wall")
                return None
            retries -= 1
            self._seed_update()
            logging_outputs, sample_size, grad_norm = self._gradients.compute(
                samples, self._num_updates, self.optimizer
            )
        self.task.optimizer_step(self.optimizer, model=self.model, update_num=self._num_updates)
        self.set_num_updates(self._num_updates + 1)
        if self.ema is not None:
            self.ema.step(self._model, self._num_updates)
            metrics.log_scalar("ema_decay", self.ema.get_decay(), priority=10000, round=5, weight=0)
        logged = statistics.log_step(
            self.task, self.criterion, logging_outputs, sample_size, grad_norm, self._clip_norm
        )
        if self.quantized_training is not None:
            self.quantized_training.end_update(self._num_updates - 1, logged)
        if self.full_precision_cost is not None:
            self.full_precision_cost.end_update()
        if self.loss_scale is not None:
            self.loss_scale.after(overflow=False)
            metrics.log_scalar("loss_scale", self.loss_scale.value, priority=700, round=4, weight=0)
        statistics.log_free_memory(self.device)
        if (
            self._empty_cache_freq > 0
            and self._num_updates % self._empty_cache_freq == 0
            and self.device.type == "cuda"
        ):
            torch.cuda.empty_cache()
        metrics.log_stop_time("train_wall")
        return logged

    def _overflow(self, loss_scale: LossScale, what_now: str) -> None:
        """Drop gradients that do not fit into fp16, and lower the scale; the number of updates does not change."""
        loss_scale.after(overflow=True)
        logger.info(f"gradient overflow detected, {what_now}, setting loss scale to: {loss_scale.value}")
        metrics.log_scalar("loss_scale", loss_scale.value, priority=700, round=4, weight=0)
        self.zero_grad()
        if self.quantized_training is not None:
            self.quantized_training.drop_update()

    def _explain_non_finite(self, samples: list[Any]) -> NoReturn:
        """Run the update again under `NanDetector` (same seed, so the same numbers) and raise with what it found."""
        advice = "lower optimization.lr, set optimization.clip_norm or look at the data of this update"
        if self.pipelined is not None:
            raise TrainingError(f"update {self._num_updates + 1}: loss or gradient is NaN or infinite; {advice}")
        self.zero_grad()
        self._seed_update()
        with NanDetector(self.get_model()) as detector:
            self._gradients.forward_backward(samples, self._num_updates, self.optimizer)
        found = distributed_utils.all_gather_list(detector.first)  # by the rank that had the data
        where = next(filter(None, found), "the gradient norm only")
        raise TrainingError(
            f"update {self._num_updates + 1}: loss or gradient is NaN or infinite, first in {where}; {advice}"
        )

    def valid_step(self, sample: Any, raise_oom: bool = False) -> dict[str, Any]:
        """Loss and metrics of one batch without gradients. `raise_oom` has no effect, as in `train_step`."""
        with torch.no_grad():
            self._model.eval()
            self._criterion.eval()
            sample, is_dummy = self._batches.prepare(sample)
            sample_size, outputs = self._validate(sample)
        logging_outputs = [
            kept for each in outputs for kept in statistics.contribution(self.task, self.criterion, each, is_dummy)
        ]
        sample_size = 0 if is_dummy else sample_size
        group = None if self.pipelined is None else self.pipelined.pipeline.replicas
        logging_outputs, sample_size = statistics.aggregate(
            logging_outputs, sample_size, statistics.can_be_summed(self.task, self.criterion), self.device, group
        )
        return statistics.log_step(self.task, self.criterion, logging_outputs, sample_size)

    def _validate(self, sample: Any) -> tuple[Any, list[dict[str, Any]]]:
        """Sample size and logging outputs of one batch."""
        if self.pipelined is not None:
            return self.pipelined.evaluate(sample, self.task, self._model, self._criterion, self.precision)
        with self.precision.autocast():
            _, sample_size, logging_output = self.task.valid_step(sample, self.model, self.criterion)
        return sample_size, [logging_output]

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def consolidate_optimizer(self) -> None:
        """Bring weights and optimizer state of a pipeline's processes to rank 0; nothing else is spread."""
        if self.pipelined is not None:
            self.pipelined.ownership.gather(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint holds, in fairseq's layout."""
        return state.build(self)

    def save_checkpoint(self, filename: str, extra_state: dict[str, Any]) -> None:
        state.save(self, filename, extra_state)

    def load_checkpoint(
        self,
        filename: str,
        reset_optimizer: bool = False,
        reset_lr_scheduler: bool = False,
        optimizer_overrides: Optional[dict[str, Any]] = None,
        reset_meters: bool = False,
    ) -> Optional[dict[str, Any]]:
        """Load model, criterion and, unless reset, optimizer and schedule; returns the checkpoint's `extra_state`,
        None without a file.
        """
        return state.load(self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._model.named_parameters()
