"""Activation checkpointing (Chen et al., arXiv:1604.06174): keep a layer's input only, compute the rest again in
backward.

>>> import torch
>>> layer, x = nn.Linear(2, 2), torch.ones(1, 2, requires_grad=True)
>>> torch.equal(checkpointed(layer, x), layer(x))
True
"""

import contextlib
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpointed(module: nn.Module, *args: Any, offload_to_cpu: bool = False, **kwargs: Any) -> Any:
    """`module(*args, **kwargs)` without keeping what it computes in between; the same result, dropout included.

    With `offload_to_cpu` the kept tensors are in CPU memory.
    """
    if not torch.is_grad_enabled():
        return module(*args, **kwargs)
    place = torch.autograd.graph.save_on_cpu() if offload_to_cpu else contextlib.nullcontext()
    with place:
        return checkpoint(module, *args, use_reentrant=False, **kwargs)
