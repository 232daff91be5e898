"""Models read back from checkpoints: its config, its weights, its quantizers, its task.

models, cfg, task = load_model_ensemble_and_task(["checkpoint_best.pt"])
"""

import inspect
import logging
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf

from fairseq import tasks
from fairseq.checkpoint import config
from fairseq.checkpoint.budget import Budget
from fairseq.checkpoint.contents import get_maybe_sharded_checkpoint_filename, load_checkpoint_to_cpu
from fairseq.checkpoint.format import load_weights
from fairseq.checkpoint.layout import restoring
from fairseq.errors import CheckpointError, ConfigError
from fairseq.graph.replay import prepare
from fairseq.quantization import keep_integer_weights
from fairseq.training.quantize import quantize

logger = logging.getLogger(__name__)


def load_model_ensemble(filenames: list[str], *args: Any, **kwargs: Any) -> tuple[list[Any], DictConfig]:
    """`load_model_ensemble_and_task`, with its arguments, without the task."""
    models, cfg, _ = load_model_ensemble_and_task(filenames, *args, **kwargs)
    return models, cfg


def load_ensemble_for_inference(
    filenames: list[str], task: Any, model_arg_overrides: Optional[dict[str, Any]] = None
) -> tuple[list[Any], DictConfig]:
    """Former name of `load_model_ensemble`, with the task given."""
    return load_model_ensemble(filenames, arg_overrides=model_arg_overrides, task=task)


def load_model_ensemble_and_task(
    filenames: list[str],
    arg_overrides: Optional[dict[str, Any]] = None,
    task: Any = None,
    strict: bool = True,
    suffix: str = "",
    num_shards: int = 1,
    state: Optional[dict[str, Any]] = None,
    integer_weights: bool = False,
) -> tuple[list[Any], DictConfig, Any]:
    """Models built and filled from checkpoints, the last one's config, and the task of the first.

    Args:
        arg_overrides: settings by bare name that replace those in the files.
        task: use this one instead of the first file's.
        strict: every weight of the model must be in the file, and the other way round.
        suffix: is put before `.pt`.
        num_shards: only 1; a file that was saved in parts has to be put together first.
        state: the first file's contents, where they have been read already.
        integer_weights: keep the codes of quantized weights only, for evaluation; files of packed weights always do.
    """
    if num_shards != 1:
        raise ConfigError(f"checkpoint.checkpoint_shard_count={num_shards}: checkpoints in parts cannot be read")
    models: list[Any] = []
    cfg = None
    for filename in filenames:
        path = get_maybe_sharded_checkpoint_filename(filename, suffix, 0, num_shards)
        if state is None:
            state = load_checkpoint_to_cpu(path, arg_overrides)
        cfg = config_of(state, path)
        if task is None:
            with restoring(path, "task"):
                task = tasks.setup_task(cfg.task, from_checkpoint=True, task_state=state.get("task_state"))
        if state.get("task_state"):
            with restoring(path, "task_state"):
                task.load_state_dict(state["task_state"])
        models.append(build(task, cfg, state, path, strict, integer_weights))
        state = None
    if cfg is None:
        raise ConfigError("no checkpoint given")
    return models, cfg, task


def config_of(state: dict[str, Any], path: str) -> DictConfig:
    """The config that a checkpoint's model is built from.

    Raises:
        CheckpointError: it has none.
    """
    if state.get("cfg") is not None:
        cfg = state["cfg"] if OmegaConf.is_config(state["cfg"]) else config.typed(state["cfg"], path)
    elif state.get("args") is not None:
        cfg = config.from_args(state["args"], path)
    else:
        raise CheckpointError(f"checkpoint {path} holds weights, but no config to build the model from")
    for group in ("task", "model"):
        if OmegaConf.is_missing(cfg, group) or cfg.get(group) is None:
            raise CheckpointError(f"checkpoint {path}: its config names no {group}; use another copy of the file")
    return cfg


def build(task: Any, cfg: DictConfig, state: dict[str, Any], path: str, strict: bool, integer_weights: bool) -> Any:
    """The model of a checkpoint, filled from it and quantized as it was trained.

    Args:
        path: of the checkpoint, for messages.
        strict: every weight of the model must be in the file, and the other way round.
        integer_weights: keep quantized weights as integers.
    """
    # tasks of plugins may lack the argument
    accepts = "from_checkpoint" in inspect.signature(task.build_model).parameters
    with restoring(path, "config"), Budget.of(state["model"], path):
        model = task.build_model(cfg.model, **({"from_checkpoint": True} if accepts else {}))
    model = prepare(model, state, path)
    history = state.get("optimizer_history")
    if history:
        model.set_num_updates(history[-1].get("num_updates", 0))
    if strict:
        _check_head(task, model, state["model"], path)
    load_weights(
        model,
        state["model"],
        path,
        strict=strict,
        model_cfg=cfg.model,
        dictionary=getattr(task, "source_dictionary", None),
    )
    return _quantized(model, cfg, state, path, integer_weights)


def _check_head(task: Any, model: Any, weights: dict[str, Any], path: str) -> None:
    """Check that the head with which `task` predicts is in the file: a head that is not there would be random."""
    if not hasattr(task, "head") or not hasattr(model, "classification_heads"):
        return
    name, outputs = task.head()
    prefix = "classification_heads."
    heads = {key.removeprefix(prefix).partition(".")[0]: 0 for key in weights if key.startswith(prefix)}
    for head in heads:
        rows = [weights.get(f"{prefix}{head}.out_proj.{weight}") for weight in ("weight", "weight_orig")]
        heads[head] = next((len(row) for row in rows if row is not None), 0)
    has = ", ".join(f"{head} ({count} outputs)" for head, count in heads.items()) or "none"
    if heads.get(name) != outputs:
        raise CheckpointError(
            f"checkpoint {path} has no classification head {name!r} with {outputs} outputs, so that its predictions "
            f"would be random; its heads: {has}. Fine-tune it first, or evaluate it with the settings of its training"
        )


def _quantized(model: Any, cfg: DictConfig, state: dict[str, Any], path: str, integer_weights: bool) -> Any:
    """`model` with the quantizers that its checkpoint was trained with, which run at `quantization.eval_bits`."""
    if cfg.quantization.preset == "none":
        if integer_weights:
            raise ConfigError(
                f"checkpoint {path} is not quantized, so it has no integer weights; fairseq-quantize-checkpoint "
                "quantizes it"
            )
        return model
    with restoring(path, "quantization"):
        try:
            model = quantize(model, cfg.quantization)
            if state.get("quantization"):
                model.quantization.load_state_dict(model, state["quantization"])
            if integer_weights or "packed_weights" in state:
                keep_integer_weights(model, state.get("packed_weights"))
        except (CheckpointError, ConfigError) as error:
            raise CheckpointError(f"checkpoint {path}: {error}") from None
    bits = model.quantization.config.eval_bits
    logger.info(f"quantized as trained (quantization={cfg.quantization.preset}), evaluation at {bits} bits")
    warning = model.quantization.short_ranges(model)
    if warning:
        logger.warning(warning)
    return model
