"""Quantizer state that travels with a state dict without adding keys to it.

A float checkpoint must load into a quantized model, and a quantized model's checkpoint into a float one, both with
`strict=True`. So running ranges and learned scales are no keys of `model.state_dict()`. They are stored in the dict's
`_metadata`, which torch saves, loads (also with `weights_only=True`) and hands to each module; a float model ignores
it. Code that rebuilds a state dict key by key drops the metadata, hence `quantizer_state(model)`: the same tensors as
a flat dict with keys of their own, `<module path>.quantizers.<which>.<name>`, for a checkpoint to keep beside the
weights. A state dict with these keys merged in is understood, too.

Loading a state dict that has no quantizer state resets it: ranges of other weights would be silently wrong.

>>> class Counter(MetadataState):
...     def __init__(self):
...         super().__init__()
...         self.register_buffer("count", torch.zeros(1))
>>> counter = Counter()
>>> _ = counter.count.fill_(3)
>>> state, other = counter.state_dict(), Counter()
>>> list(state), other.load_state_dict(state, strict=True), other.count
([], <All keys matched successfully>, tensor([3.]))
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq.errors import CheckpointError

METADATA_KEY = "quantizer_state"


class MetadataState(nn.Module):
    """A module whose parameters and persistent buffers are kept in a state dict's metadata instead of in its keys."""

    def hidden_tensors(self) -> dict[str, Tensor]:
        """This module's own persistent tensors, by name."""
        tensors: dict[str, Any] = {**self._parameters, **self._buffers}
        return {
            name: tensor.detach()
            for name, tensor in tensors.items()
            if tensor is not None and name not in self._non_persistent_buffers_set
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """`.to`, `.half`, `.bfloat16`: ranges and scales move, but stay in fp32."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved, recurse)  # type: ignore[no-untyped-call]

    def before_save(self) -> None:
        """Bring the tensors up to date; called before they are read."""

    def after_load(self, found: bool) -> None:
        """React to a load: `found` tells whether there was state to load. Without it, start anew."""

    def load_hidden(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Copy `tensors` into this module's; CheckpointError where names or shapes differ."""
        self.check_hidden(tensors, where)
        with torch.no_grad():
            for name, tensor in self.hidden_tensors().items():
                tensor.copy_(tensors[name])
        self.after_load(found=True)

    def check_hidden(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """CheckpointError where `load_hidden` could not take `tensors`."""
        own = self.hidden_tensors()
        if own.keys() != tensors.keys():
            raise CheckpointError(
                f"quantizer state at {where!r} has {sorted(tensors)}, the model's quantizer needs {sorted(own)}; "
                "convert the model with the plan that the checkpoint carries"
            )
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise CheckpointError(
                    f"quantizer state {where}.{name} has shape {tuple(tensors[name].shape)}, "
                    f"the model's has {tuple(tensor.shape)}; convert the model with the checkpoint's plan"
                )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self.before_save()
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None and (tensors := self.hidden_tensors()):
            metadata.setdefault(prefix[:-1], {})[METADATA_KEY] = tensors

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = self.hidden_tensors()
        if not own:
            return
        as_keys = {name: state_dict[prefix + name] for name in own if prefix + name in state_dict}
        tensors = as_keys or local_metadata.get(METADATA_KEY)
        if tensors:
            self.load_hidden(tensors, prefix[:-1])
        else:
            self.after_load(found=False)


HiddenState = MetadataState  # its name until the next release


def hidden_modules(model: nn.Module) -> Iterator[tuple[str, MetadataState]]:
    """Every module of `model` that has hidden tensors, with its path."""
    for path, module in model.named_modules():
        if isinstance(module, MetadataState) and module.hidden_tensors():
            yield path, module


def quantizer_state(model: nn.Module) -> dict[str, Tensor]:
    """All hidden tensors of `model` as one flat dict, path.name -> tensor; empty for a float model."""
    state: dict[str, Tensor] = {}
    for path, module in hidden_modules(model):
        module.before_save()
        state.update({f"{path}.{name}": tensor for name, tensor in module.hidden_tensors().items()})
    return state


def load_quantizer_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Restore what `quantizer_state` gave; CheckpointError where the model's quantizers are others."""
    remaining = dict(state)
    found = []
    for path, module in hidden_modules(model):
        names = [name for name in module.hidden_tensors() if f"{path}.{name}" in remaining]
        found.append((path, module, {name: remaining.pop(f"{path}.{name}") for name in names}))
        module.check_hidden(found[-1][2], path)
    if remaining:
        raise CheckpointError(
            f"quantizer state {next(iter(remaining))!r} has no quantizer in the model ({len(remaining)} such keys); "
            "convert the model with the plan that the checkpoint carries"
        )
    for path, module, tensors in found:  # all of them, or none
        module.load_hidden(tensors, path)
