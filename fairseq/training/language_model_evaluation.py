"""What `fairseq-eval-lm` does: load models, cut a split into blocks, score it.

Task and blocks are those of the command line, the models those of the checkpoints.
"""

import logging
from typing import Any

import torch

from fairseq import checkpoint_utils, tasks, utils
from fairseq.data.part_of_dataset import load_subset
from fairseq.errors import ConfigError
from fairseq.generation.language_model_scores import eval_lm
from fairseq.logging import progress_bar
from fairseq.training import console
from fairseq.training.evaluation import parse_overrides
from fairseq.training.precision import Precision, choose_device

logger = logging.getLogger("fairseq_cli.eval_lm")


def evaluate_language_model(cfg: Any) -> dict[str, float]:
    """Loss (base 2) and perplexity of `dataset.gen_subset` under the models of `common_eval.path`.

    Raises:
        ConfigError: settings that do not fit the model. DataError: no such split, or nothing to score.
    """
    if not cfg.common_eval.path:
        raise ConfigError("no checkpoint to evaluate: give --path (common_eval.path=FILE)")
    precision = Precision.from_config(cfg.common, choose_device(cfg.common, cfg.distributed_training.device_id))
    window = cfg.eval_lm.context_window
    if window >= cfg.task.tokens_per_sample:
        raise ConfigError(
            f"--context-window {window} leaves no tokens to predict: --tokens-per-sample is "
            f"{cfg.task.tokens_per_sample}, context included"
        )
    cfg.task.tokens_per_sample -= window  # a block and its context fill an example together
    task: Any = tasks.setup_task(cfg.task)
    logger.info(f"loading model(s) from {cfg.common_eval.path}")
    models, _ = checkpoint_utils.load_model_ensemble(
        utils.split_paths(cfg.common_eval.path),
        arg_overrides=parse_overrides(cfg.common_eval.model_overrides),
        suffix=cfg.checkpoint.checkpoint_suffix,
        num_shards=cfg.checkpoint.checkpoint_shard_count,
        task=task,
        integer_weights=cfg.common_eval.integer_weights,
    )
    for model in models:
        model.to(precision.device)
        model.prepare_for_inference_(cfg)
    logger.info(f"num. model params: {sum(p.numel() for p in models[0].parameters()):,}")
    longest = utils.resolve_max_positions(*[model.max_positions() for model in models])
    _check_length(cfg, longest)

    split = cfg.dataset.gen_subset
    load_subset(task, split)
    dataset = task.dataset(split)
    logger.info(f"{cfg.task.data} {split} {len(dataset):,} examples")
    batches = task.eval_lm_dataloader(
        dataset=dataset,
        max_tokens=cfg.dataset.max_tokens or 36000,
        batch_size=cfg.dataset.batch_size,
        max_positions=longest,
        num_shards=max(cfg.dataset.num_shards, cfg.distributed_training.distributed_world_size),
        shard_id=max(cfg.dataset.shard_id, cfg.distributed_training.distributed_rank),
        num_workers=cfg.dataset.num_workers,
        data_buffer_size=cfg.dataset.data_buffer_size,
        context_window=window,
    )
    progress = progress_bar.progress_bar(
        batches, log_format=console.log_format(cfg), log_interval=cfg.common.log_interval
    )
    with torch.no_grad(), precision.autocast():
        return eval_lm(
            models=models,
            source_dictionary=task.source_dictionary,
            batch_iterator=progress,
            post_process=cfg.common_eval.post_process,
            output_word_probs=False if cfg.common_eval.quiet else cfg.eval_lm.output_word_probs,
            output_word_stats=cfg.eval_lm.output_word_stats,
            target_dictionary=task.target_dictionary,
            softmax_batch=cfg.eval_lm.softmax_batch,
            remove_bos_token=cfg.task.add_bos_token,
            device=precision.device,
        )


def _check_length(cfg: Any, longest: Any) -> None:
    """Raise ConfigError where blocks of the size that is asked for would all be left out as too long."""
    tokens = cfg.task.tokens_per_sample + cfg.eval_lm.context_window
    if str(cfg.task.sample_break_mode) == "none" and isinstance(longest, int) and tokens > longest:
        raise ConfigError(
            f"--tokens-per-sample {tokens} is longer than the model's {longest} positions, so that most of the text "
            f"would be left out; give --tokens-per-sample {longest}, or less"
        )
