"""A moving average of a module's weights, for teachers inside a model.

    average = decay * average + (1 - decay) * weights

>>> model = nn.Linear(1, 1)
>>> ema = EMAModule(model, EMAModuleConfig(ema_decay=0.5))
>>> before = model.weight.item()
>>> _ = model.weight.data.add_(2.0)
>>> ema.step(model)
>>> round(ema.model.weight.item() - before, 6)
1.0
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.ranges import between


@dataclass
class EMAModuleConfig(FairseqDataclass):
    """How to average."""

    ema_decay: float = option(0.9999, "weight of the old average at each step", within=between(0, 1))
    ema_fp32: bool = option(False, "average in fp32 although the model is in 16 bits")
    add_missing_params: bool = option(True, "keep parameters that the averaged model lacks in fp32, too")
    log_norms: bool = option(False, "accepted for fairseq's sake; has no effect")


class EMAModule:
    """The averaged copy of `model`.

    Args:
        config: has `ema_decay` and `ema_fp32`.
        copy_model: average in a copy; False averages into `model` itself.
        device: where the copy lies; default: where the model is.
        skip_keys: names of parameters and buffers that are copied instead of averaged.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any,
        copy_model: bool = True,
        device: Optional[torch.device] = None,
        skip_keys: Optional[Collection[str]] = None,
    ):
        self.config = config
        self.decay = config.ema_decay
        self.skip_keys = set(skip_keys or ())
        self.logs: dict[str, Any] = {}
        self.model = copy.deepcopy(model).requires_grad_(False) if copy_model else model
        if device is not None:
            self.model.to(device)
        self.fp32_params: dict[str, Tensor] = {}
        if config.ema_fp32:
            self.build_fp32_params()

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

    def restore(self, state_dict: dict[str, Tensor], build_fp32_params: bool = False) -> None:
        """Take the average from a state dict (of a model, or of an earlier average).

        Args:
            build_fp32_params: keep it in fp32 as well, see the method of that name.
        """
        self.model.load_state_dict(state_dict, strict=True)
        if build_fp32_params:
            self.build_fp32_params(state_dict)

    def set_decay(self, decay: float, weight_decay: Optional[float] = None) -> None:
        """Also the decay of the averaged weights themselves, where one is given."""
        self.decay = decay
        if weight_decay is not None:
            self.weight_decay = weight_decay

    def get_decay(self) -> float:
        return self.decay

    @torch.no_grad()
    def step(self, new_model: nn.Module) -> None:
        """Take in the weights of `new_model`."""
        self._step_internal(new_model)

    def _step_internal(self, new_model: nn.Module) -> None:
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
