"""`QLinear`: nn.Linear whose forward product and both backward products see quantized operands.

    y = Q(x) Q(w)^T + bias,   dL/dx = Q(g) Q(w),   dL/dw = Q(g)^T Q(x),   g = dL/dy

Parameters and state-dict keys are nn.Linear's. The quantizers are called `<path>.weight`, `<path>.input`,
`<path>.grad_output`.

>>> import torch
>>> import torch.nn.functional as F
>>> layer = QLinear(4, 2, num_grad_bits=8)
>>> list(layer.state_dict())
['weight', 'bias']
>>> x = torch.randn(3, 4)
>>> torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))        # no bits: full precision
True
>>> with torch.no_grad():
...     layer(x, num_bits=2).shape
torch.Size([3, 2])
"""

from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.native.packed_linear import linear
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.products.linear import LINEAR_ROLES, LinearQuantizers
from fairseq.quantization.spec import QuantizerSpec


class QLinear(nn.Linear):
    """nn.Linear that takes `num_bits`.

    Args:
        in_features, out_features, bias, device, dtype: as nn.Linear.
        num_grad_bits: bits of the gradient quantizer; None leaves gradients in full precision.
        specs: settings for "weight", "input" and "grad_output"; CPT's reference semantics if None. Without a plan
            `compute: auto` simulates.
        quantized: False creates no quantizers; the layer is an nn.Linear until `quantize_model` gives it some.
    """

    quantizers: Optional[LinearQuantizers]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        num_grad_bits: Optional[int] = 8,
        specs: Optional[Mapping[str, QuantizerSpec]] = None,
        quantized: bool = True,
    ):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.quantizers = None
        if quantized:
            specs = specs or {name: reference_spec(role, num_grad_bits) for name, role in LINEAR_ROLES.items()}
            self.quantizers = LinearQuantizers("", self.weight, specs, QuantizationContext())

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """`input` (..., in_features) -> (..., out_features).

        Args:
            num_bits: bits of input and weight; None for full precision, unless the quantizers' bits are pinned.
        """
        if self.quantizers is None:
            return linear(input, self.weight, self.bias)
        return self.quantizers(input, self.weight, self.bias, num_bits)  # type: ignore[no-any-return]
