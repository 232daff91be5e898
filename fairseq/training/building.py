"""The model of a run, as the checkpoint that the run starts from needs it.

    model = build_model(cfg, task)

Most checkpoints fit what the config says. One of `fairseq-graph transform` says of itself what was done to its model:
the same is done here, before the weights are loaded, and where the run says nothing of quantization, it goes on with
the checkpoint's. Masks of pruned weights are kept in any case.
"""

import logging
from types import SimpleNamespace
from typing import Any, Optional

from torch import nn

from fairseq import checkpoint_utils
from fairseq.checkpoint.contents import read_outline
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import CheckpointError
from fairseq.file_io import exists
from fairseq.graph.replay import KEY, prepare
from fairseq.training.quantize import quantize

logger = logging.getLogger("fairseq.trainer")


def build_model(cfg: Any, task: Any) -> nn.Module:
    """The model that `cfg` describes, with the modules, masks and quantizers that its first weights need.

    Args:
        cfg: the root config; its `quantization` is filled in from a transformed checkpoint, if it is open.
    """
    start, path = _outline(cfg)
    model = task.build_model(cfg.model)
    if start is not None:
        _adopt_quantization(cfg, start, path)
        model = prepare(model, start, path)
    return quantize(model, cfg.quantization)


def _outline(cfg: Any) -> tuple[Optional[dict[str, Any]], str]:
    """What the run starts from, without the tensors' data; None from scratch."""
    run = SimpleNamespace(
        checkpoint_suffix=cfg.checkpoint.checkpoint_suffix or "",
        is_data_parallel_master=distributed_utils.is_master(cfg.distributed_training),
    )
    path, _ = checkpoint_utils.starting_point(cfg.checkpoint, run)
    return (read_outline(path) if exists(path, CheckpointError) else None), path


def _adopt_quantization(cfg: Any, start: dict[str, Any], path: str) -> None:
    saved = start["cfg"].quantization if KEY in start and start.get("cfg") is not None else None
    if saved is None or saved.preset == "none" or cfg.quantization.preset != "none":
        return
    cfg.quantization = saved
    logger.info(f"quantization of {path}: {saved.preset} with {len(saved.rules)} rules; {KEY} are kept")
