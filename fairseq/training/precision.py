"""Which device a run uses, and in which floating-point precision its forward passes run.

`common.fp16`, `bf16`, `amp` and their `memory_efficient_` forms all become `torch.autocast` around the forward pass;
parameters, gradients and optimizer state stay fp32. fp16 needs a GPU: on a CPU the run continues in fp32 with a warning
once.
"""

import contextlib
import logging
from typing import Any, Optional

import torch
from torch import nn

from fairseq.errors import ConfigError

logger = logging.getLogger(__name__)


def choose_device(common: Any, device_id: int = 0) -> torch.device:
    """The GPU `device_id` if there is one and `common.cpu` is not set, else the CPU."""
    if common.tpu:
        raise ConfigError("common.tpu: TPUs are not supported; unset it to train on GPU or CPU")
    if torch.cuda.is_available() and not common.cpu:
        torch.cuda.set_device(device_id)
        return torch.device("cuda", device_id)
    return torch.device("cpu")


class Precision:
    """Device and autocast type of a run; `autocast_dtype` is None for fp32."""

    def __init__(self, device: torch.device, autocast_dtype: Optional[torch.dtype] = None):
        self.device = device
        self.autocast_dtype = autocast_dtype

    @classmethod
    def from_config(cls, common: Any, device: torch.device) -> "Precision":
        """Read `common.{fp16,bf16,amp,memory_efficient_*}`. Raises ConfigError where fp16 and bf16 are both requested
        for.
        """
        wants_fp16 = common.fp16 or common.memory_efficient_fp16 or common.amp
        wants_bf16 = common.bf16 or common.memory_efficient_bf16
        if wants_fp16 and wants_bf16:
            raise ConfigError("common.fp16 (or amp) and common.bf16 exclude each other; set one of them to false")
        if wants_bf16:
            return cls(device, torch.bfloat16)
        if wants_fp16 and device.type != "cuda":
            logger.warning("common.fp16 needs a GPU and there is none here: training in fp32")
            return cls(device)
        return cls(device, torch.float16 if wants_fp16 else None)

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)


def compile_model(model: nn.Module, backend: str = "inductor") -> None:
    """Let `torch.compile` make the forward and backward of `model`, once for all batch sizes and lengths.

    In place: the model object and the keys of its state dict do not change.
    """
    model.compile(dynamic=True, backend=backend)
