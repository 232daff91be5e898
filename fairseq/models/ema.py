"""A moving average of the weights: `ema.store_ema=true` keeps it in every checkpoint.

    average = decay * average + (1 - decay) * weights        after every `ema_update_freq` updates

Before `ema_start_update` the average simply is the model. It is held in fp32, as the weights are. Buffers and frozen
parameters are copied.

>>> from types import SimpleNamespace
>>> cfg = SimpleNamespace(ema_decay=0.5, ema_start_update=0, ema_update_freq=1, ema_seed_model=None)
>>> model = nn.Linear(1, 1)
>>> ema = EMA(model, cfg)
>>> before = model.weight.item()
>>> _ = model.weight.data.add_(2.0)
>>> ema.step(model, updates=1)
>>> round(ema.get_model().weight.item() - before, 6)
1.0
"""

import copy
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError


class EMA:
    """The averaged copy of `model`.

    Args:
        config: the `ema` group.
        device: where the copy lies; default: where the model is.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any,
        device: Optional[torch.device] = None,
        seed_weights: Optional[dict[str, Tensor]] = None,
    ):
        if not 0.0 <= config.ema_decay <= 1.0:
            raise ConfigError(f"ema.ema_decay={config.ema_decay} is not between 0 and 1")
        # read once: attribute access on an OmegaConf node is slow
        self._final_decay, self._start = config.ema_decay, config.ema_start_update
        self._every = max(1, config.ema_update_freq)
        self.decay = self._final_decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        if device is not None:
            self.model.to(device)
        if seed_weights is not None:
            self.restore(seed_weights)

    def get_model(self) -> nn.Module:
        """The averaged model, in eval mode."""
        return self.model

    def get_decay(self) -> float:
        return self.decay

    @torch.no_grad()
    def step(self, new_model: nn.Module, updates: Optional[int] = None) -> None:
        """Take in the weights of `new_model` after its `updates`-th update."""
        self.decay = 0.0 if updates is not None and updates < self._start else self._final_decay
        if updates is not None and updates % self._every != 0:
            return
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        new = dict(new_model.named_parameters())
        for name, own in self.model.named_parameters():
            if new[name].requires_grad:
                averaged.append(own)
                current.append(new[name].to(device=own.device, dtype=own.dtype))
            else:
                own.copy_(new[name])
        if averaged:
            torch._foreach_lerp_(averaged, current, 1.0 - self.decay)
        for own_buffer, buffer in zip(self.model.buffers(), new_model.buffers(), strict=True):
            own_buffer.copy_(buffer)

    def restore(self, state_dict: dict[str, Tensor], build_fp32_params: bool = False) -> None:
        """Take the average from a state dict (of a model, or of an earlier average)."""
        self.model.load_state_dict(state_dict, strict=True)


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
    return EMA(model, cfg, device, seed_weights)
