"""LayerDrop (Fan et al., arXiv:1909.11556): in training each layer is left out of a pass with probability p.

>>> layers = LayerDropModuleList(0.5, [nn.Identity() for _ in range(4)])
>>> len(list(layers.eval())), len(layers)
(4, 4)
"""

from collections.abc import Iterable, Iterator
from typing import Optional

import torch
from torch import nn


class LayerDropModuleList(nn.ModuleList):
    """A list of layers that skips some of them at random, drawn each time it is iterated in training mode."""

    def __init__(self, p: float, modules: Optional[Iterable[nn.Module]] = None):
        super().__init__(modules)
        self.p = p

    def __iter__(self) -> Iterator[nn.Module]:
        draws = torch.empty(len(self)).uniform_()
        for draw, layer in zip(draws.tolist(), super().__iter__(), strict=True):
            if not self.training or draw > self.p:
                yield layer
