"""`Sequential`: nn.Sequential that hands `num_bits` to the modules that take it.

>>> import torch
>>> from fairseq.quantization.layers.linear import QLinear
>>> chain = Sequential(nn.Dropout(0.0), QLinear(4, 2, quantized=False))
>>> chain(torch.zeros(3, 4), num_bits=8).shape, list(chain.state_dict())
(torch.Size([3, 2]), ['1.weight', '1.bias'])
"""

from typing import Any, Optional

from torch import nn

from fairseq.quantization.bits import bits_for


class Sequential(nn.Sequential):
    """One module behind the other; state-dict keys are nn.Sequential's."""

    def forward(self, input: Any, num_bits: Optional[int] = None) -> Any:
        for module in self:
            input = module(input, **bits_for(module, num_bits))
        return input
