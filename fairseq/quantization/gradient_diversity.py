"""Measures the diversity of gradients between intervals of training, for the schedule `diversity`.

    d = sum_k |g_k|^2 / |sum_k g_k|^2          over the last `resolution` intervals

where g_k is the gradient at the end of interval k.

>>> meter = GradientDiversity(interval=1, resolution=2)
>>> p = nn.Parameter(torch.zeros(2))
>>> p.grad = torch.tensor([1.0, 0.0]); meter.update(0, [p])
>>> p.grad = torch.tensor([0.0, 1.0]); meter.update(1, [p])
1.0
"""

from collections.abc import Iterable, Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError


class GradientDiversity:
    """Keeps the sum of a few gradients, in fp32.

    Args:
        interval: updates between two gradients (an epoch's, in the paper).
        resolution: gradients per measurement.
    """

    def __init__(self, interval: int, resolution: int = 3):
        if interval < 1 or resolution < 2:
            raise ConfigError("gradient diversity: needs an interval of 1 or more and a resolution of 2 or more")
        self.interval, self.resolution = interval, resolution
        self.total: Optional[Tensor] = None
        self.squares = 0.0
        self.count = 0

    @torch.no_grad()
    def update(self, update: int, parameters: Iterable[nn.Parameter]) -> Optional[float]:
        """Look at the gradients before the optimizer's step of `update`; a measurement where one is complete."""
        if (update + 1) % self.interval:
            return None
        present = [p.grad.detach() for p in parameters if p.grad is not None]
        gradients = [(grad.to_dense() if grad.is_sparse else grad).flatten().float() for grad in present]
        if not gradients:
            return None
        gradient = torch.cat(gradients)
        self.total = gradient if self.total is None else self.total + gradient
        self.squares += float(gradient.dot(gradient))
        self.count += 1
        if self.count < self.resolution:
            return None
        norm = float(self.total.dot(self.total))
        result = self.squares / norm if norm > 0 else None
        self.total, self.squares, self.count = None, 0.0, 0
        return result

    def state_dict(self) -> dict[str, Any]:
        """Sums of an unfinished measurement."""
        return {"total": self.total, "squares": self.squares, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.total, self.squares, self.count = state["total"], state["squares"], state["count"]
