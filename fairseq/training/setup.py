"""Checks and log lines of a run before the first update."""

import logging
import zipfile
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from fairseq import checkpoint_utils
from fairseq.checkpoint.contents import read_outline
from fairseq.checkpoint.sizes import differing_sizes
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import CheckpointError, ConfigError
from fairseq.training.console import model_summary
from fairseq.training.trainable import Trainable

logger = logging.getLogger("fairseq_cli.train")


def check_sizes(cfg: Any) -> None:
    """A run needs a batch size and an end."""
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        raise ConfigError("no batch size: set dataset.batch_size or dataset.max_tokens (--batch-size, --max-tokens)")
    if cfg.checkpoint.no_save is False and not cfg.checkpoint.save_dir:
        raise ConfigError("checkpoint.save_dir is empty: name a folder, or set checkpoint.no_save=true")


def check_start(cfg: Any) -> None:
    """Check that the checkpoint to start from has the model's sizes, before a model is built and data is read.

    Raises:
        CheckpointError: it has others, or it cannot be read; names the settings.
    """
    checkpoint = cfg.checkpoint
    run = SimpleNamespace(
        checkpoint_suffix=checkpoint.checkpoint_suffix,
        is_data_parallel_master=distributed_utils.is_master(cfg.distributed_training),
    )
    path, _ = checkpoint_utils.starting_point(checkpoint, run)
    if not zipfile.is_zipfile(path):  # not there, or of a kind whose shapes cannot be had without all of its contents
        return
    sizes = differing_sizes(read_outline(path)["model"], cfg.model)
    if sizes:
        raise CheckpointError(
            f"checkpoint {path} does not fit: {', '.join(sizes)}; take its sizes, or start from another checkpoint"
        )


def log_model(task: Any, model: nn.Module, criterion: nn.Module, trainable: Trainable) -> None:
    logger.info(model, extra={"terminal": lambda: model_summary(task, model, criterion, trainable)})
    logger.info(f"task: {type(task).__name__}")
    logger.info(f"model: {type(model).__name__}")
    logger.info(f"criterion: {type(criterion).__name__}")
    logger.info(f"num. shared model params: {trainable.total:,} (num. trained: {trainable.trained:,})")
    if trainable.trained < trainable.total:
        names = ", ".join(trainable.names)
        logger.info(f"trained parameters: {names}", extra={"terminal": ""})


def log_setup(cfg: Any, trainer: Any) -> None:
    if trainer.device.type == "cuda":
        properties = torch.cuda.get_device_properties(trainer.device)
        logger.info(f"{trainer.device}: {properties.name}, {properties.total_memory / 2**30:.1f} GB")
    device = "GPU" if trainer.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    logger.info(f"training on {trainer.data_parallel_world_size} devices ({device})")
    logger.info(
        f"max tokens per device = {cfg.dataset.max_tokens} and max sentences per device = {cfg.dataset.batch_size}"
    )
