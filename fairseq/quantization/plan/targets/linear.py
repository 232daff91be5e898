"""Linear layers: nn.Linear, and `Projection`, whose weight another module owns."""

from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.layers.projection import Projection
from fairseq.quantization.plan.target import (
    Product,
    QuantizationTarget,
    Specs,
    UnquantizedProduct,
    register_target,
    retype,
)
from fairseq.quantization.plan.targets.products import linear_product, linear_quantizers, unquantized_linear
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.quantizer import Quantizer


@register_target(nn.Linear)
class LinearTarget(QuantizationTarget):
    """nn.Linear or `QLinear`."""

    supports = "nn.Linear"
    keeps_codes = True

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        if type(module).forward not in (nn.Linear.forward, QLinear.forward):
            return UnsupportedTarget(path, module, f"{type(module).__name__} has a forward of its own")
        if is_parametrized(module):
            return UnsupportedTarget(path, module, "its weight is parametrized")
        return cls(path, module)

    def __init__(self, path: str, module: nn.Linear):
        super().__init__(path, module)
        self.quantizers = linear_quantizers(path, module.bias is not None)

    def products(self) -> list[Product]:
        return [linear_product(self.path, (self.module.out_features, self.module.in_features))]  # type: ignore[arg-type]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QLinear)
        layer.quantizers = LinearQuantizers(self.path, layer.weight, self.own(specs), context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Any = getattr(self.module, "quantizers", None)
        return [] if quantizers is None else [(quantizers.quantizer("weight"), self.module.weight)]  # type: ignore[list-item]

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_linear(args[0], self.module.weight, output)  # type: ignore[arg-type]


@register_target(Projection)
class ProjectionTarget(QuantizationTarget):
    """A `Projection`: a linear product with a weight that another module owns."""

    module: Projection
    supports = "fairseq.quantization.layers.Projection"

    def __init__(self, path: str, module: Projection):
        super().__init__(path, module)
        self.quantizers = linear_quantizers(path, has_bias=True)  # one may be passed in

    def products(self) -> list[Product]:
        return [linear_product(self.path, (self.module.out_features, self.module.in_features))]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        shape = torch.empty(self.module.out_features, self.module.in_features, device="meta")
        self.module.quantizers = LinearQuantizers(self.path, shape, self.own(specs), context, calibration_bits)
        return self.module

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_linear(args[0], args[1], output)
