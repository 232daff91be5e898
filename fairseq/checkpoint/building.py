"""Models from what a checkpoint holds: its config, its weights, its quantizers.

cfg = config_of(state, path)
model = build(task, cfg, state, path, strict=True, integer_weights=False)
"""

import inspect
import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fairseq.checkpoint import config
from fairseq.checkpoint.format import load_weights
from fairseq.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)


def config_of(state: dict[str, Any], path: str) -> DictConfig:
    """The config that a checkpoint's model is built from.

    Raises:
        CheckpointError: it has none.
    """
    if state.get("cfg") is not None:
        return state["cfg"] if OmegaConf.is_config(state["cfg"]) else config.typed(state["cfg"], path)
    if state.get("args") is not None:
        return config.from_args(state["args"])
    raise CheckpointError(f"checkpoint {path} holds weights, but no config to build the model from")


def build(task: Any, cfg: DictConfig, state: dict[str, Any], path: str, strict: bool, integer_weights: bool) -> Any:
    """The model of a checkpoint, filled from it and quantized as it was trained.

    Args:
        path: of the checkpoint, for messages.
        strict: every weight of the model must be in the file, and the other way round.
        integer_weights: keep quantized weights as integers.
    """
    # tasks of plugins may not know the argument
    knows = "from_checkpoint" in inspect.signature(task.build_model).parameters
    model = task.build_model(cfg.model, **({"from_checkpoint": True} if knows else {}))
    history = state.get("optimizer_history")
    if history:
        model.set_num_updates(history[-1].get("num_updates", 0))
    load_weights(
        model,
        state["model"],
        path,
        strict=strict,
        model_cfg=cfg.model,
        dictionary=getattr(task, "source_dictionary", None),
    )
    return _quantized(model, cfg, state, path, integer_weights)


def _quantized(model: Any, cfg: DictConfig, state: dict[str, Any], path: str, integer_weights: bool) -> Any:
    """`model` with the quantizers that its checkpoint was trained with, which run at `quantization.eval_bits`."""
    if cfg.quantization.preset == "none":
        if integer_weights:
            raise ConfigError(
                f"checkpoint {path} is not quantized, so it has no integer weights; fairseq-quantize-checkpoint "
                "quantizes it"
            )
        return model
    from fairseq.quantization import keep_integer_weights
    from fairseq.training.quantize import quantize

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
