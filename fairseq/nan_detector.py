"""Find the module in which the first non-finite number of a training step appears.

    with NanDetector(model) as detector:
        loss = criterion(model, sample); loss.backward()
    detector.first   # "encoder.layers.1.fc2 (forward output)" or None

Costs a pass over every activation, so a step is run under it only after its gradient norm was found to be non-finite.
"""

from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch import Tensor, nn


class NanDetector:
    """Context manager; `first` names the earliest module and pass with a NaN or infinity, forward before backward."""

    def __init__(self, model: nn.Module, forward: bool = True, backward: bool = True):
        self.first: Optional[str] = None
        self._model, self._forward, self._backward = model, forward, backward
        self._handles: list[Any] = []

    def __enter__(self) -> "NanDetector":
        for name, parameter in self._model.named_parameters():
            if not torch.isfinite(parameter).all():
                self.first = f"parameter {name}"
                break
        for name, module in self._model.named_modules():
            self._handles.append(module.register_forward_hook(self._after_forward(name or type(module).__name__)))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _after_forward(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            for tensor in _floating_tensors(outputs):
                if self._forward:
                    self._look(tensor, f"{name} (forward output)")
                if self._backward and tensor.requires_grad:
                    tensor.register_hook(lambda grad: self._look(grad, f"{name} (gradient of its output)"))

        return hook

    def _look(self, tensor: Tensor, where: str) -> None:
        if self.first is None and not torch.isfinite(tensor).all():
            self.first = where


def _floating_tensors(value: Any) -> Iterator[Tensor]:
    if torch.is_tensor(value):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for element in value.values():
            yield from _floating_tensors(element)
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _floating_tensors(element)
