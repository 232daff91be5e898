"""A moving average of the weights, built from the `ema` group of a config."""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.models.ema.ema import EMA

__all__ = ["EMA", "build_ema"]


def build_ema(
    model: nn.Module,
    cfg: Any,
    device: Optional[torch.device] = None,
    seed_weights: Optional[dict[str, Tensor]] = None,
) -> EMA:
    """The average that the `ema` group describes.

    Args:
        seed_weights: the contents of `cfg.ema_seed_model`, to start from; `model` as it is without them.
    """
    return EMA(model, cfg, device, seed_weights=seed_weights)
