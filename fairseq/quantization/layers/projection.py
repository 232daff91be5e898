"""`Projection`: a linear product whose weight belongs to another module, such as a language model's output layer that
shares the embedding's table. It has a path, so that rules, plans and costs can name it; its quantizers are those of
`QLinear`.

>>> import torch
>>> projection = Projection(4, 10)
>>> projection(torch.randn(2, 4), torch.randn(10, 4)).shape, list(projection.state_dict())
(torch.Size([2, 10]), [])
"""

from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.quantization.products.linear import LinearQuantizers


class Projection(nn.Module):
    """`x @ weight^T + bias` for `x` (..., in_features) and a weight (out_features, in_features) that is passed in."""

    quantizers: Optional[LinearQuantizers]

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.quantizers = None

    def forward(
        self, x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, num_bits: Optional[int] = None
    ) -> Tensor:
        if self.quantizers is None:
            return F.linear(x, weight, bias)
        return self.quantizers(x, weight, bias, num_bits)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"
