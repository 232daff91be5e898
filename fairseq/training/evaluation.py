"""Evaluate trained checkpoints: what `fairseq-validate` and `fairseq-hydra-validate` do.

    evaluation = load_for_evaluation(cfg, {"data": "RTE-bin"})
    stats = evaluate(evaluation, "valid")       # {"loss": 0.98, "accuracy": 57.8, ...}

Task, model and criterion are those of the checkpoint; batch sizes, device and subsets those of `cfg`. A checkpoint in
full precision is quantized where `cfg.quantization` says so, with ranges from the training data.
"""

import ast
import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

import torch
from omegaconf import DictConfig

from fairseq import checkpoint_utils, utils
from fairseq.checkpoint_tools.batches import batches_of
from fairseq.data.iterating.loading import deaths_of_workers
from fairseq.data.part_of_dataset import load_subset
from fairseq.dataclass.utils import to_container
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import ConfigError, DataError, unknown
from fairseq.logging import metrics, progress_bar
from fairseq.quantization import keep_integer_weights
from fairseq.training import console
from fairseq.training.calibration import BATCHES, calibrate, without_range
from fairseq.training.precision import Precision, choose_device
from fairseq.training.quantize import quantize

if TYPE_CHECKING:
    from fairseq.models import BaseFairseqModel

logger = logging.getLogger("fairseq_cli.validate")


@dataclass
class Evaluation:
    """Loaded models with all that is needed to score them."""

    cfg: Any
    task: Any
    models: "list[BaseFairseqModel]"
    criterion: torch.nn.Module
    precision: Precision


def parse_overrides(text: str) -> dict[str, Any]:
    """`--model-overrides "{'dropout': 0.1}"` as a dict, read as a literal."""
    try:
        overrides = ast.literal_eval(text) if isinstance(text, str) else dict(text)
    except (ValueError, SyntaxError):
        raise ConfigError(
            f"common_eval.model_overrides: {text!r} is not a dictionary like {{'dropout': 0.1}}"
        ) from None
    return dict(overrides)


def load_models(
    cfg: Any, overrides: Optional[Mapping[str, Any]] = None, task: Any = None, log: logging.Logger = logger
) -> "tuple[list[BaseFairseqModel], DictConfig, Any, Precision]":
    """The models of `common_eval.path` (several paths: an ensemble, `:` between them) on their device, ready to be
    evaluated; the config of the last one; the task; the precision of forward passes.

    Args:
        cfg: the root config of this evaluation.
        overrides: settings by bare name that replace what the checkpoint was trained with.
        task: use this one instead of the checkpoint's.
        log: says what is loaded.
    """
    if not cfg.common_eval.path:
        raise ConfigError("no checkpoint to evaluate: give --path (common_eval.path=FILE)")
    device = choose_device(cfg.common, cfg.distributed_training.device_id)
    arg_overrides = {**(overrides or {}), **parse_overrides(cfg.common_eval.model_overrides)}
    log.info(f"loading model(s) from {cfg.common_eval.path}")
    models, saved_cfg, task = checkpoint_utils.load_model_ensemble_and_task(
        utils.split_paths(cfg.common_eval.path),
        arg_overrides=arg_overrides,
        task=task,
        suffix=cfg.checkpoint.checkpoint_suffix,
        num_shards=cfg.checkpoint.checkpoint_shard_count,
        integer_weights=cfg.common_eval.integer_weights,
    )
    for name in parse_overrides(cfg.common_eval.model_overrides):
        if name not in (known := _names(saved_cfg)):
            raise ConfigError(
                f"common_eval.model_overrides: {unknown('key', name, known, 'the config of the checkpoint')}"
            )
    for model in models:
        if saved_cfg.quantization.preset != "none" and saved_cfg.quantization.compute == "integer":
            keep_integer_weights(model)  # evaluation only, at one number of bits
        model.to(device).eval()
    return models, saved_cfg, task, Precision.from_config(cfg.common, device)


def load_for_evaluation(cfg: Any, overrides: Optional[Mapping[str, Any]] = None) -> Evaluation:
    """Load `common_eval.path`, as `load_models`, with the task and the criterion that it was trained with."""
    models, saved_cfg, task, precision = load_models(cfg, overrides)
    criterion = task.build_criterion(saved_cfg.criterion).to(precision.device).eval()
    if cfg.quantization.preset != "none":
        if saved_cfg.quantization.preset == "none":
            models = [_quantized(model, cfg, task, criterion, precision) for model in models]
        elif to_container(cfg.quantization) != to_container(saved_cfg.quantization):
            logger.warning(
                f"{cfg.common_eval.path} was trained with quantization={saved_cfg.quantization.preset} and is "
                "evaluated so; other bits: common_eval.model_overrides=\"{'eval_bits': 4}\" (--model-overrides)"
            )
    return Evaluation(cfg, task, models, criterion, precision)


def _quantized(model: Any, cfg: Any, task: Any, criterion: Any, precision: Precision) -> Any:
    """A model in full precision, quantized as `cfg` says; ranges are measured on batches of the training subset."""
    model = quantize(model, cfg.quantization).to(precision.device).eval()
    if lacking := without_range(model):
        subset, size = cfg.dataset.train_subset.split(",")[0], cfg.dataset.batch_size or 16
        logger.info(f"measuring the ranges of {len(lacking)} quantizers on {BATCHES} batches of {subset!r}")
        samples = batches_of(task, subset, size, BATCHES, shuffle=True)
        moved = (utils.move_to_device(sample, precision.device) for sample in samples)
        calibrate(model, task, criterion, moved, BATCHES)
    return model


def _names(cfg: DictConfig) -> set[str]:
    """Keys of a config and of its groups; a component of flags alone is a namespace."""
    nodes = [cfg, *(node for node in cfg.values() if isinstance(node, DictConfig))]
    spaces = [node for node in cfg.values() if isinstance(node, Namespace)]
    return {str(key) for node in nodes for key in node} | {key for space in spaces for key in vars(space)}


def evaluate(evaluation: Evaluation, subset: str) -> dict[str, Any]:
    """Score every example of `subset` once, print the line that training prints, and return its numbers."""
    cfg, task, criterion = evaluation.cfg, evaluation.task, evaluation.criterion
    try:
        load_subset(task, subset, combine=False, epoch=1)
        dataset = task.dataset_for_scoring(subset)
    except KeyError:
        raise DataError(f"the task has no subset {subset!r}; choose one with --valid-subset") from None
    itr = task.get_batch_iterator(
        dataset=dataset,
        max_tokens=cfg.dataset.max_tokens_valid or cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size_valid or cfg.dataset.batch_size,
        max_positions=utils.resolve_max_positions(
            task.max_positions(), *[model.max_positions() for model in evaluation.models]
        ),
        ignore_invalid_inputs=cfg.dataset.skip_invalid_size_inputs_valid_test,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=distributed_utils.get_world_size(),
        shard_id=distributed_utils.get_rank(),
        num_workers=cfg.dataset.num_workers,
        data_buffer_size=cfg.dataset.data_buffer_size,
    ).next_epoch_itr(shuffle=False)
    progress = progress_bar.progress_bar(
        itr,
        log_format=console.log_format(cfg),
        log_interval=cfg.common.log_interval,
        prefix=f"valid on '{subset}' subset",
    )
    model = evaluation.models[0]
    with metrics.aggregate(new_root=True) as aggregator, deaths_of_workers():
        outputs = []
        for sample in progress:
            if not sample:
                continue
            sample = utils.move_to_device(sample, evaluation.precision.device)
            with torch.no_grad(), evaluation.precision.autocast():
                _, _, output = task.valid_step(sample, model, criterion)
            outputs.append(output)
        outputs = [output for share in distributed_utils.all_gather_list(outputs) for output in share]
        task.reduce_metrics(outputs, criterion)
        stats = aggregator.get_smoothed_values()
    progress.print(stats, tag=subset, step=len(outputs))
    return stats
