"""`QBilinear`: nn.Bilinear behind quantizers, `<path>.left` and `<path>.right` of its two inputs among them.

Parameters, state-dict keys and arguments are torch's. `quantize_model` gives it quantizers.

>>> import torch
>>> layer = QBilinear(3, 4, 2)
>>> layer(torch.randn(5, 3), torch.randn(5, 4), num_bits=4).shape, list(layer.state_dict())
(torch.Size([5, 2]), ['weight', 'bias'])
"""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.quantization.products.bilinear import BilinearQuantizers


class QBilinear(nn.Bilinear):
    """nn.Bilinear that takes `num_bits`."""

    quantizers: Optional[BilinearQuantizers]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = None

    def forward(self, input1: Tensor, input2: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """`input1` (..., in1_features), `input2` (..., in2_features) -> (..., out_features)."""
        if self.quantizers is None:
            return super().forward(input1, input2)
        return self.quantizers(input1, input2, self.weight, self.bias, num_bits)  # type: ignore[no-any-return]
