"""Gradient averaging over processes, behind a wrapper that otherwise looks like the model.

`pytorch_ddp` (alias `c10d`) overlaps the averaging with the backward pass; `legacy_ddp` (alias `no_c10d`) does it in
one go afterwards and needs no knowledge of which parameters a batch uses. Both leave the *average* of the processes'
gradients in `.grad`.
"""

import contextlib
import inspect
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fairseq.distributed.collectives import get_world_size
from fairseq.distributed.hooks import add_hook
from fairseq.errors import ConfigError, TrainingError

logger = logging.getLogger(__name__)

# newer versions of torch warn about the older name
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


def wrap_model(cfg: Any, model: nn.Module, device: torch.device) -> nn.Module:
    """`model`, wrapped as `ddp_backend` of the `distributed_training` group says; unchanged in a single process.

    Raises:
        ConfigError: a backend that is not supported.
    """
    backend, hook = str(cfg.ddp_backend), str(cfg.ddp_comm_hook)
    if get_world_size() == 1 or not any(p.requires_grad for p in model.parameters()):
        if hook != "none":
            logger.warning(f"distributed_training.ddp_comm_hook={hook} has no effect: one process exchanges nothing")
        return model
    if backend in ("pytorch_ddp", "c10d"):
        wrapped = OverlappedDataParallel(
            model,
            device_ids=[device.index] if device.type == "cuda" else None,
            **{_BUFFERS: cfg.broadcast_buffers},
            bucket_cap_mb=cfg.bucket_cap_mb,
            find_unused_parameters=cfg.find_unused_parameters,
            gradient_as_bucket_view=cfg.gradient_as_bucket_view,
        )
        add_hook(wrapped, hook)
        return wrapped
    if hook != "none":
        raise ConfigError(f"distributed_training.ddp_comm_hook={hook} needs ddp_backend=pytorch_ddp, not {backend}")
    if backend in ("legacy_ddp", "no_c10d"):
        return SimpleDataParallel(model)
    raise ConfigError(f"distributed_training.ddp_backend={backend} is not supported; choose pytorch_ddp or legacy_ddp")


class _ForwardsAttributes(nn.Module):
    """Attributes that the wrapper lacks are looked up in the model, so that criterions and plugins can ignore the
    wrapper.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.load_state_dict(*args, **kwargs)


class OverlappedDataParallel(_ForwardsAttributes, DistributedDataParallel):
    """torch's DDP with the model's attributes and state-dict keys."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().forward(*args, **kwargs)
        except RuntimeError as error:
            if "finished reduction in the prior iteration" not in str(error):
                raise
            raise TrainingError(self._unused(str(error))) from None

    def _unused(self, message: str) -> str:
        """One line for torch's page about parameters without a gradient."""
        listed = re.search(r"did not receive grad for rank \d+: ([\d ]+)", message)
        names = [name for name, parameter in self.module.named_parameters() if parameter.requires_grad]
        unused = [names[int(index)] for index in listed[1].split()] if listed else []
        what = f"{len(unused)} parameters ({unused[0]}, ...)" if unused else "some parameters"
        return (
            f"{what} had no part in the loss of the last update; with several processes, set "
            "distributed_training.find_unused_parameters=true (--find-unused-parameters) or freeze them"
        )


class SimpleDataParallel(_ForwardsAttributes):
    """Averages all gradients in one flat collective when `all_reduce_grads` is called."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, src=0)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        yield

    def all_reduce_grads(self) -> None:
        average_gradients(p for p in self.module.parameters() if p.requires_grad)


def average_gradients(parameters: Iterable[nn.Parameter], group: Any = None) -> None:
    """Gradients become their average over the processes of `group`, of all by default; where one did not use a
    parameter, its share is zero. A parameter that none of them used keeps no gradient, as in a single process.
    """
    parameters = list(parameters)
    if not parameters or get_world_size(group) == 1:
        return
    first = parameters[0]
    used = torch.tensor([float(p.grad is not None) for p in parameters], dtype=first.dtype, device=first.device)
    flat = torch.cat(
        [used, *(torch.zeros(p.numel()).to(p) if p.grad is None else p.grad.flatten() for p in parameters)]
    )
    dist.all_reduce(flat, group=group)
    flat /= get_world_size(group)
    used, *grads = flat.split([len(parameters), *(p.numel() for p in parameters)])
    for parameter, grad, share in zip(parameters, grads, used.tolist(), strict=True):
        parameter.grad = grad.view_as(parameter) if share > 0 else None
