"""Memory for quantized gradients, which are dead as soon as their two products are formed: no fresh pages for each.

A buffer belongs to its taker until it is given back, so threads that compute gradients of one model at once, and
a backward pass within another one, never work in the same memory. Who does not give it back only loses it.

>>> scratch = Scratch()
>>> a, b = scratch.take(6, torch.device("cpu")), scratch.take(6, torch.device("cpu"))
>>> a.data_ptr() == b.data_ptr()
False
>>> scratch.give_back(a)
>>> scratch.take(4, torch.device("cpu")) is a
True
"""

from typing import Optional

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

MAX_KEPT_ELEMENTS = 2**25  # 128 MiB that stay allocated


class Scratch:
    """fp32 buffers of one model, by device."""

    def __init__(self) -> None:
        self._free: dict[torch.device, list[Tensor]] = {}

    def take(self, size: int, device: torch.device) -> Tensor:
        """An uninitialised fp32 tensor of at least `size` elements, for the caller alone."""
        if size > MAX_KEPT_ELEMENTS or torch.is_inference_mode_enabled() or _get_current_dispatch_mode() is not None:
            return torch.empty(size, dtype=torch.float32, device=device)
        try:
            buffer = self._free[device].pop()
        except (KeyError, IndexError):
            buffer = None
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, dtype=torch.float32, device=device)
        return buffer

    def give_back(self, buffer: Optional[Tensor]) -> None:
        """Nobody reads `buffer`, which came from `take`, any more; None is ignored."""
        if type(buffer) is not Tensor:  # none, or one without data, of a trace
            return
        if buffer.numel() <= MAX_KEPT_ELEMENTS and not buffer.is_inference():
            self._free.setdefault(buffer.device, []).append(buffer)
