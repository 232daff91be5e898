"""Masks of pruned weights: buffers of the module that owns the weight, and what keeps the weight at zero.

The weight stays a parameter under its own key; beside it stands `<name>_mask`, of booleans. Where the mask is false the
weight is zero, its gradient is, and what an optimizer adds nevertheless (from momentum) is taken away before the next
forward and before saving. So a pruned model is quantized, trained, traced and copied like any other, and weights that
several modules share stay one.

>>> layer = nn.Linear(3, 1)
>>> attach(layer, layer, "weight", torch.tensor([[True, False, True]]))
>>> list(layer.state_dict()), layer.weight[0, 1].item(), pruned_parts(layer)
(['weight', 'bias', 'weight_mask'], 0.0, ['weight: 1 of 3 pruned'])
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.native.compiled import is_tracing

SUFFIX = "_mask"


class KeepMasks:
    """A hook on a module that owns masked weights: before its forward and before its state is saved."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}  # weights that have not changed since

    def __call__(self, module: nn.Module, *ignored: Any) -> None:
        if is_tracing():  # without data, or of a program that has the weights as they are
            return
        for name, mask in masks_of(module):
            weight: Any = module._parameters[name]
            state = None if weight.is_inference() else (weight._version, weight.data_ptr())
            # a version alone would miss writes through `.data`, as some optimizers do
            if module.training or state is None or self._seen.get(name) != state:
                weight.data.masked_fill_(mask.logical_not(), 0)
                if state is not None and not module.training:
                    torch.autograd.graph.increment_version(weight)  # who keeps the rounded weight has to look again
                    state = weight._version, weight.data_ptr()
            if module.training or state is None:
                self._seen.pop(name, None)
            else:
                self._seen[name] = state
            _mask_gradient(weight, module._buffers, name + SUFFIX)


class KeepAllMasks:
    """The same hook on the whole model: some modules use a part's weight without calling the part."""

    def __call__(self, model: nn.Module, *ignored: Any) -> None:
        for module in model.modules():
            for hook in module._forward_pre_hooks.values():
                if isinstance(hook, KeepMasks):
                    hook(module)


def attach(model: nn.Module, owner: nn.Module, name: str, mask: Tensor) -> None:
    """Mask the parameter `name` of `owner`, a module of `model`; False is zero. A mask that is there is replaced."""
    weight: Any = owner._parameters[name]
    mask = mask.to(weight.device, torch.bool)
    owner.register_buffer(name + SUFFIX, mask)
    if not weight.is_inference():
        with torch.no_grad():  # a write that counts: quantized layers keep what they made of the weight until one
            weight.masked_fill_(mask.logical_not(), 0)
    if not _has(owner, KeepMasks):
        hook = KeepMasks()
        owner.register_forward_pre_hook(hook)
        owner.register_state_dict_pre_hook(hook)
    keep_all(model)
    for found in owner._forward_pre_hooks.values():
        if isinstance(found, KeepMasks):
            found._seen.clear()
            found(owner)


def keep_all(model: nn.Module) -> None:
    """Have all masks in `model`, if there are any, kept before each of its forwards."""
    if not _has(model, KeepAllMasks) and any(_has(module, KeepMasks) for module in model.modules()):
        model.register_forward_pre_hook(KeepAllMasks())


def detach(model: nn.Module) -> list[str]:
    """Take all masks off; weights stay as they are. Paths of the weights that had one."""
    found = []
    for path, module in model.named_modules():
        names = [name for name, _ in masks_of(module)]
        for name in names:
            KeepMasks()(module)
            del module._buffers[name + SUFFIX]  # the gradient's hook looks for it and finds none
            found.append(f"{path}.{name}".lstrip("."))
        for store in (module._forward_pre_hooks, module._state_dict_pre_hooks):
            for key in [key for key, hook in store.items() if isinstance(hook, (KeepMasks, KeepAllMasks))]:
                del store[key]
    return found


def restore(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Give `model` the masks that a saved state has, so that `load_state_dict(state)` takes it whole. Paths of
    the weights.

    Raises:
        ConfigError: a mask of a weight that the model does not have, or that has another shape.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    own = {name for name, _ in model.named_buffers()} - {f"{path}{SUFFIX}" for path in named_masks(model)}
    found = []
    for key, mask in state.items():
        path = key.removesuffix(SUFFIX)
        if path == key or path not in state or key in own or not isinstance(mask, Tensor):
            continue
        if path not in parameters or parameters[path].shape != mask.shape:
            raise ConfigError(f"the state has a mask of {path!r} {list(mask.shape)}, which the model does not have")
        owner, _, name = path.rpartition(".")
        attach(model, model.get_submodule(owner), name, mask)
        found.append(path)
    return found


def masks_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names of the module's own masked parameters, with their masks."""
    for buffer, mask in list(module._buffers.items()):
        name = buffer.removesuffix(SUFFIX)
        if buffer != name and mask is not None and module._parameters.get(name) is not None:
            yield name, mask


def named_masks(model: nn.Module) -> dict[str, Tensor]:
    """Path of a parameter -> its mask."""
    return {
        f"{path}.{name}".lstrip("."): mask for path, module in model.named_modules() for name, mask in masks_of(module)
    }


def broken_masks(model: nn.Module) -> list[str]:
    """Paths of the parameters that are not zero where their mask says so."""
    found = []
    for path, mask in named_masks(model).items():
        if bool(model.get_parameter(path).detach()[~mask].count_nonzero()):
            found.append(path)
    return found


def pruned_parts(module: nn.Module) -> list[str]:
    """What is pruned of a module's own parameters, in words."""
    return [
        f"{name}: {mask.numel() - int(mask.count_nonzero())} of {mask.numel()} pruned"
        for name, mask in masks_of(module)
    ]


def _has(module: nn.Module, kind: type) -> bool:
    return any(isinstance(hook, kind) for hook in module._forward_pre_hooks.values())


def _mask_gradient(weight: Any, buffers: dict[str, Any], name: str) -> None:
    """Once per parameter; a copy of a parameter has neither the hook nor the mark."""
    if not weight.requires_grad or getattr(weight, "masks_its_gradient", False):
        return

    def masked(gradient: Tensor) -> Tensor:
        mask = buffers.get(name)
        return gradient if mask is None else gradient.masked_fill(mask.logical_not(), 0)

    weight.register_hook(masked)
    weight.masks_its_gradient = True
