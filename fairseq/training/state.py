"""A trainer's state as a checkpoint, in fairseq's layout, and back."""

import logging
import os
from typing import TYPE_CHECKING, Any, Optional, Protocol

from torch import nn

from fairseq import checkpoint_utils
from fairseq.checkpoint import format as checkpoint_format
from fairseq.checkpoint.layout import restoring
from fairseq.errors import CheckpointError, FairseqError
from fairseq.file_io import exists
from fairseq.graph.replay import DONE, KEY
from fairseq.logging import metrics
from fairseq.optim.loss_scale import LossScale
from fairseq.training.changed_settings import report_changes, same_component
from fairseq.training.cost import FullPrecisionCost
from fairseq.training.early_stopping import EarlyStopping
from fairseq.training.quantized import QuantizedTraining
from fairseq.training.statistics import restart_time_meters

if TYPE_CHECKING:
    from fairseq.training.pipelined import Pipelined

logger = logging.getLogger("fairseq.trainer")


class Trained(Protocol):
    """What a checkpoint is made of, and what it is loaded into. `Trainer` is one."""

    cfg: Any
    task: Any
    ema: Any  # None without a moving average of the weights
    loss_scale: Optional[LossScale]  # of fp16
    quantized_training: Optional[QuantizedTraining]
    full_precision_cost: Optional[FullPrecisionCost]
    early_stopping: EarlyStopping
    pipelined: "Optional[Pipelined]"  # layers spread over processes
    optimizer_history: list[dict[str, Any]]

    @property
    def optimizer(self) -> Any: ...
    @property
    def lr_scheduler(self) -> Any: ...
    def get_model(self) -> nn.Module: ...
    def get_criterion(self) -> nn.Module: ...
    def get_num_updates(self) -> int: ...
    def set_num_updates(self, num_updates: int) -> None: ...
    def cumulative_training_time(self) -> float: ...
    def add_previous_training_time(self, seconds: float) -> None: ...


def build(trainer: Trained, extra_state: Optional[dict[str, Any]] = None) -> dict[str, Any]:
    """The dict that a checkpoint file holds; `extra_state` is added to the metrics and the training time."""
    state = checkpoint_format.build_state(
        cfg=trainer.cfg,
        model_state=trainer.get_model().state_dict(),
        criterion=trainer.get_criterion(),
        optimizer=trainer.optimizer,
        lr_scheduler=trainer.lr_scheduler,
        num_updates=trainer.get_num_updates(),
        optimizer_history=trainer.optimizer_history,
        task=trainer.task,
        save_optimizer_state=not trainer.cfg.checkpoint.no_save_optimizer_state,
        extra_state={
            "metrics": metrics.state_dict(),
            "previous_training_time": trainer.cumulative_training_time(),
            "early_stopping": trainer.early_stopping.state_dict(),
            **({"loss_scale": trainer.loss_scale.state_dict()} if trainer.loss_scale is not None else {}),
            **_average(trainer),
            **(extra_state or {}),
        },
    )
    if trainer.pipelined is not None and "last_optimizer_state" in state:  # of all processes, not of this one alone
        state["last_optimizer_state"] = checkpoint_format.portable(trainer.pipelined.ownership.optimizer_state)
    if trainer.quantized_training is not None:
        state["quantization"] = checkpoint_format.portable(trainer.quantized_training.state_dict())
    if trainer.full_precision_cost is not None:
        state["cost"] = trainer.full_precision_cost.state_dict()
    if hasattr(trainer.get_model(), DONE):
        state[KEY] = getattr(trainer.get_model(), DONE)
    return state


def _average(trainer: Trained) -> dict[str, Any]:
    """The moving average of the weights, under fairseq's keys."""
    if trainer.ema is None:
        return {}
    state = {"ema": trainer.ema.get_model().state_dict()}
    return {**state, "ema_fp32_params": dict(trainer.ema.fp32_params)} if trainer.cfg.ema.ema_fp32 else state


def save(trainer: Trained, filename: str, extra_state: dict[str, Any]) -> None:
    logger.info(f"Saving checkpoint to {os.path.abspath(filename)}")
    checkpoint_utils.torch_persistent_save(
        build(trainer, extra_state), filename, trainer.cfg.checkpoint.write_checkpoints_asynchronously
    )
    logger.info(f"Finished saving checkpoint to {os.path.abspath(filename)}")


def load(
    trainer: Trained,
    filename: str,
    reset_optimizer: bool,
    reset_lr_scheduler: bool,
    optimizer_overrides: Optional[dict[str, Any]],
    reset_meters: bool,
) -> Optional[dict[str, Any]]:
    """Put a checkpoint into `trainer`; returns its `extra_state`, or None if there is no such file."""
    logger.info(f"Preparing to load checkpoint {filename}")
    if not exists(filename, CheckpointError):
        logger.info(f"No existing checkpoint found {filename}")
        return None
    state = checkpoint_utils.load_checkpoint_to_cpu(filename)
    if not reset_optimizer and state.get("task_state"):
        with restoring(filename, "task_state"):
            try:
                trainer.task.load_state_dict(state["task_state"])
            except FairseqError as error:
                where = _dictionary_path(trainer.cfg.task)
                raise CheckpointError(f"{filename}: {error}" + (f" (now: {where})" if where else "")) from None
    _load_weights(trainer, state, filename)
    if trainer.ema is not None:
        _load_average(trainer, state["extra_state"], filename)
    if trainer.quantized_training is not None and state.get("quantization"):
        # a file of packed weights, or of a transformed model, has no training to continue with
        only_weights = reset_optimizer or "packed_weights" in state or "cost" not in state["quantization"]
        with restoring(filename, "quantization"):
            trainer.quantized_training.load_state_dict(state["quantization"], filename, only_weights=only_weights)
    if trainer.full_precision_cost is not None and not reset_optimizer and state.get("cost") is not None:
        with restoring(filename, "cost"):
            trainer.full_precision_cost.load_state_dict(state["cost"])
    if not reset_optimizer:
        _load_optimizer(trainer, state, filename, reset_lr_scheduler, optimizer_overrides)
    if state.get("cfg") is not None:
        # positions count each process's batches; the run that continues may have another number of processes
        workers = _shards(state["cfg"].distributed_training)
        state["extra_state"]["train_iterator"].setdefault("num_shards", workers)
    report_changes(state.get("cfg"), trainer.cfg, filename, state["extra_state"]["train_iterator"], reset_optimizer)
    return _load_progress(trainer, state["extra_state"], filename, reset_optimizer, reset_meters)


def _shards(distributed: Any) -> int:
    """How many processes shared the batches of the run that saved a file."""
    world_size = max(1, distributed.distributed_world_size)
    if not distributed.pipeline_model_parallel:
        return world_size
    from fairseq.distributed.pipeline.settings import PipelineSettings

    return max(1, world_size // PipelineSettings.of(distributed).ranks(world_size))


def _load_weights(trainer: Trained, state: dict[str, Any], filename: str) -> None:
    checkpoint_format.load_weights(
        trainer.get_model(),
        state["model"],
        filename,
        model_cfg=trainer.cfg.model,
        dictionary=trainer.task.source_dictionary,
        dict_path=_dictionary_path(trainer.cfg.task),
    )
    if state.get("criterion"):
        with restoring(filename, "criterion"):
            trainer.get_criterion().load_state_dict(state["criterion"])


def _load_average(trainer: Trained, extra_state: dict[str, Any], filename: str) -> None:
    """Continue the file's average. Without one, the average starts from the weights just loaded."""
    average = extra_state.get("ema")
    if average is None:
        logger.warning(f"checkpoint {filename} holds no averaged weights: the average starts from its weights")
        average = trainer.get_model().state_dict()
    try:
        trainer.ema.restore(average)
        if trainer.cfg.ema.ema_fp32:
            trainer.ema.build_fp32_params(extra_state.get("ema_fp32_params"))
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise CheckpointError(f"checkpoint {filename}: its averaged weights do not fit the model: {reason}") from None


def _dictionary_path(task_cfg: Any) -> Optional[str]:
    """The path of the data's source dictionary, for messages."""
    data = task_cfg.get("data") if hasattr(task_cfg, "get") else getattr(task_cfg, "data", None)
    if not data:
        return None
    candidates = [os.path.join(data, folder, "dict.txt") for folder in ("input0", "")]
    return next((path for path in candidates if exists(path)), None)


def _load_optimizer(
    trainer: Trained,
    state: dict[str, Any],
    filename: str,
    reset_lr_scheduler: bool,
    overrides: Optional[dict[str, Any]],
) -> None:
    last = checkpoint_format.check_history(state, trainer.get_criterion(), trainer.optimizer, filename)
    if last is None:
        return
    trainer.optimizer_history = state["optimizer_history"][:-1]
    if not reset_lr_scheduler and same_component(state.get("cfg"), trainer.cfg, "lr_scheduler"):
        with restoring(filename, "lr_scheduler_state", "set checkpoint.reset_lr_scheduler to start it again"):
            trainer.lr_scheduler.load_state_dict(last["lr_scheduler_state"])
    with restoring(filename, "last_optimizer_state", "set checkpoint.reset_optimizer to start it again"):
        saved = state["last_optimizer_state"]
        saved = saved if trainer.pipelined is None else trainer.pipelined.ownership.part_of(saved)
        trainer.optimizer.load_state_dict(saved, optimizer_overrides=overrides)
        trainer.set_num_updates(last["num_updates"])


def _load_progress(
    trainer: Trained, extra_state: dict[str, Any], filename: str, reset_optimizer: bool, reset_meters: bool
) -> dict[str, Any]:
    position = extra_state["train_iterator"]
    logger.info(f"Loaded checkpoint {filename} (epoch {position['epoch']} @ {trainer.get_num_updates()} updates)")
    if reset_meters:
        return extra_state
    with restoring(filename, "extra_state", "set checkpoint.reset_meters to start statistics again"):
        trainer.add_previous_training_time(extra_state.get("previous_training_time", 0.0))
        if extra_state.get("metrics"):
            metrics.load_state_dict(extra_state["metrics"])
            restart_time_meters()
            if position.get("iterations_in_epoch", 0) == 0 or trainer.cfg.checkpoint.reset_dataloader:
                metrics.reset_meters("train")  # they are of the epoch that ended; another one begins
        if trainer.loss_scale is not None and extra_state.get("loss_scale") and not reset_optimizer:
            trainer.loss_scale.load_state_dict(extra_state["loss_scale"])
        if extra_state.get("early_stopping") and not reset_optimizer:
            trainer.early_stopping.load_state_dict(extra_state["early_stopping"])
    return extra_state
