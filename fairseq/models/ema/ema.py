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

import copy
from collections.abc import Collection
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError


class EMA:
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
        self.config = config
        # read once: attribute access on an OmegaConf node is slow
        self._final_decay, self._start = config.ema_decay, config.ema_start_update
        self._every = max(1, config.ema_update_freq)
        self.decay = self._final_decay
        self.skip_keys = set(skip_keys or ())
        self.update_freq_counter: Optional[int] = None  # updates since the last step; None before the first
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        if device is not None:
            self.model.to(device)
        self.fp32_params: dict[str, Tensor] = {}
        if seed_weights is not None:
            self.restore(seed_weights)
        if config.ema_fp32:
            self.build_fp32_params()

    def get_model(self) -> nn.Module:
        """The averaged model, in eval mode."""
        return self.model

    def get_decay(self) -> float:
        return self.decay

    def build_fp32_params(self, state_dict: Optional[dict[str, Tensor]] = None) -> None:
        """Keep the average in fp32, taken from `state_dict` (default: from the averaged model).

        Raises:
            RuntimeError: the config does not ask for it (`ema_fp32`).
        """
        if not self.config.ema_fp32:
            raise RuntimeError("the average is not kept in fp32; set ema_fp32=True")
        own = self.model.state_dict()
        for name, value in (own if state_dict is None else state_dict).items():
            if name not in own or not own[name].is_floating_point():
                continue
            if name in self.fp32_params:
                self.fp32_params[name].copy_(value)
            else:  # a model in fp32 is its own copy
                same = own[name].dtype == torch.float32 and state_dict is None
                self.fp32_params[name] = own[name] if same else value.detach().to(own[name].device, torch.float32)

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

    def _set_decay(self, decay: float) -> None:
        self.decay = decay

    def _step_internal(self, new_model: nn.Module, updates: Optional[int] = None) -> None:
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        own = self.model.state_dict()
        seen: set[int] = set()  # tied weights have several names and are averaged once
        for name, new in new_model.state_dict().items():
            if name not in own:
                raise KeyError(f"the averaged model has no {name}")
            average = self.fp32_params.get(name, own[name])
            if name in self.skip_keys or not average.is_floating_point():
                average.copy_(new)
            elif average.data_ptr() not in seen:
                seen.add(average.data_ptr())
                averaged.append(average)
                current.append(new.to(device=average.device, dtype=average.dtype))
        if averaged:
            torch._foreach_mul_(averaged, self.decay)
            torch._foreach_add_(averaged, current, alpha=1 - self.decay)
        for name, average in self.fp32_params.items():
            if own[name].data_ptr() != average.data_ptr():
                own[name].copy_(average)

    @torch.no_grad()
    def reverse(self, model: nn.Module) -> nn.Module:
        """Put the averaged weights into `model`; returns it."""
        model.load_state_dict(self.model.state_dict())
        return model

    def restore(self, state_dict: dict[str, Tensor], build_fp32_params: bool = False) -> None:
        """Take the average from a state dict (of a model, or of an earlier average).

        Args:
            build_fp32_params: keep it in fp32 as well, see the method of that name.
        """
        self.model.load_state_dict(state_dict, strict=True)
        if build_fp32_params:
            self.build_fp32_params(state_dict)
