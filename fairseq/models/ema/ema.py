"""A moving average of the weights: `ema.store_ema=true` keeps it in every checkpoint.

    average = decay * average + (1 - decay) * weights        after every `ema_update_freq` updates

Before `ema_start_update` the average simply is the model. Floating-point buffers and frozen parameters are averaged
like weights; integers are copied. With `ema_fp32` the average is kept in fp32 beside a model in 16 bits.

>>> from types import SimpleNamespace
>>> cfg = SimpleNamespace(ema_decay=0.5, ema_start_update=0, ema_update_freq=1, ema_seed_model=None, ema_fp32=False)
>>> model = nn.Linear(1, 1)
>>> ema = EMA(model, cfg)
>>> before = model.weight.item()
>>> _ = model.weight.data.add_(2.0)
>>> ema.step(model, updates=1)
>>> round(ema.get_model().weight.item() - before, 6)
1.0
>>> ema.reverse(model).weight.item() == ema.get_model().weight.item()
True
"""

from collections.abc import Collection
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.modules.ema_module import EMAModule


class EMA(EMAModule):
    """The averaged copy of `model`.

    Args:
        config: the `ema` group.
        device: where the copy lies; default: where the model is.
        skip_keys: names of parameters and buffers that are copied instead of averaged.
        seed_weights: what the average starts from; default: the model as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any,
        device: Optional[torch.device] = None,
        skip_keys: Optional[Collection[str]] = None,
        *,
        seed_weights: Optional[dict[str, Tensor]] = None,
    ):
        if not 0.0 <= config.ema_decay <= 1.0:
            raise ConfigError(f"ema.ema_decay={config.ema_decay} is not between 0 and 1")
        super().__init__(model, config, device=device, skip_keys=skip_keys)
        self.model.eval()
        # read once: attribute access on an OmegaConf node is slow
        self._final_decay, self._start = config.ema_decay, config.ema_start_update
        self._every = max(1, config.ema_update_freq)
        self.update_freq_counter: Optional[int] = None  # updates since the last step; None before the first
        if seed_weights is not None:
            self.restore(seed_weights, build_fp32_params=config.ema_fp32)

    def get_model(self) -> nn.Module:
        """The averaged model, in eval mode."""
        return self.model

    def _set_decay(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def step(self, new_model: nn.Module, updates: Optional[int] = None) -> None:
        """Take in the weights of `new_model` after its `updates`-th update; at once without a number."""
        if updates is not None:
            self._set_decay(0 if updates < self._start else self._final_decay)
            if self.update_freq_counter is None:  # also where a run goes on in the middle
                self.update_freq_counter = max(updates - 1, 0) % self._every
            self.update_freq_counter += 1
            if self.update_freq_counter < self._every:
                return
            self.update_freq_counter = 0
        self._step_internal(new_model)
