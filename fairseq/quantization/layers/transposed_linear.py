"""`QConv1D`: the linear layer of GPT-2 in `transformers`, called Conv1D there, whose weight is (in, out).

    y = Q(x) Q(W^T)^T + bias          a row of W^T is an output channel, as in `QLinear`

Parameters and state-dict keys are those of that class, which need not be installed.

>>> import torch
>>> layer = QConv1D(4, 2)
>>> layer(torch.randn(3, 2)).shape, layer.weight.shape
(torch.Size([3, 4]), torch.Size([2, 4]))
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.quantization.products.linear import LinearQuantizers


class QConv1D(nn.Module):
    """`x @ weight + bias` that takes `num_bits`.

    Args:
        nf: output features.
        nx: input features.
        bias: whether there is one.
    """

    quantizers: Optional[LinearQuantizers]

    def __init__(self, nf: int, nx: int, bias: bool = True):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.empty(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf)) if bias else None
        nn.init.normal_(self.weight, std=0.02)
        self.quantizers = None

    def forward(self, x: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """(..., in) -> (..., out)."""
        if self.quantizers is None:
            return F.linear(x, self.weight.t(), self.bias)
        return self.quantizers(x, self.weight.t(), self.bias, num_bits)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(nf={self.weight.shape[1]}, nx={self.weight.shape[0]})"
