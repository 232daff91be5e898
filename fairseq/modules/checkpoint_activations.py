"""Activation checkpointing (Chen et al., arXiv:1604.06174): keep a layer's input only, compute the rest again in
backward.

>>> import torch
>>> layer, x = nn.Linear(2, 2), torch.ones(1, 2, requires_grad=True)
>>> torch.equal(checkpointed(layer, x), layer(x))
True
"""

import contextlib
import functools
from typing import Any, Optional

import torch
from torch import Tensor, nn
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


def checkpoint_wrapper(m: nn.Module, offload_to_cpu: bool = False) -> nn.Module:
    """Make every call of `m` a checkpointed one, in place; returns `m`. Its state dict stays as it is."""
    m.precheckpoint_forward = m.forward  # type: ignore[assignment]
    m.forward = functools.partial(_checkpointed_forward, m.forward, offload_to_cpu)
    return m


def unwrap_checkpoint(m: nn.Module) -> nn.Module:
    """Undo `checkpoint_wrapper` in `m` and all that is inside; returns `m`."""
    for module in m.modules():
        if "precheckpoint_forward" in vars(module):
            module.forward = module.precheckpoint_forward  # type: ignore[assignment]
            del module.precheckpoint_forward
    return m


def _checkpointed_forward(original_forward: Any, offload_to_cpu: bool, *args: Any, **kwargs: Any) -> Any:
    return checkpointed(original_forward, *args, offload_to_cpu=offload_to_cpu, **kwargs)


def pack_kwargs(*args: Any, **kwargs: Any) -> tuple[list[str], list[Any]]:
    """The names of keywords, and all values in one list.

    >>> pack_kwargs(1, 2, a=3), unpack_kwargs(*pack_kwargs(1, 2, a=3))
    ((['a'], [1, 2, 3]), ([1, 2], {'a': 3}))
    """
    return list(kwargs), [*args, *kwargs.values()]


def unpack_kwargs(kwarg_keys: list[str], flat_args: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    if not kwarg_keys:
        return flat_args, {}
    positional = len(flat_args) - len(kwarg_keys)
    return flat_args[:positional], dict(zip(kwarg_keys, flat_args[positional:], strict=True))


def split_non_tensors(mixed: Any) -> tuple[tuple[Tensor, ...], Optional[dict[str, list[Any]]]]:
    """The tensors of a tuple, and what else it has with the places; `(mixed,), None` for a tensor alone."""
    if isinstance(mixed, Tensor):
        return (mixed,), None
    places = [isinstance(item, Tensor) for item in mixed]
    tensors = tuple(item for item in mixed if isinstance(item, Tensor))
    return tensors, {"is_tensor": places, "objects": [item for item in mixed if not isinstance(item, Tensor)]}


def unpack_non_tensors(tensors: tuple[Tensor, ...], packed_non_tensors: Optional[dict[str, list[Any]]]) -> tuple:
    """What `split_non_tensors` has split."""
    if packed_non_tensors is None:
        return tensors
    own, others = iter(tensors), iter(packed_non_tensors["objects"])
    return tuple(next(own if is_tensor else others) for is_tensor in packed_non_tensors["is_tensor"])
