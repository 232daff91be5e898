"""fairseq's ConvTBC, known by its name, whose `product` is a linear layer on windows over time."""

from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.plan.target import Product, QuantizationTarget, Specs, UnquantizedProduct, register_target
from fairseq.quantization.plan.targets.products import linear_product, linear_quantizers
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.quantizer import Quantizer


@register_target(names=("fairseq.modules.conv_tbc.ConvTBC",))
class TimeConvolutionTarget(QuantizationTarget):
    """A ConvTBC, or a LinearizedConvolution; its weight is (K, in, out), its matrix (out, K * in)."""

    module: Any
    supports = "fairseq.modules.ConvTBC"

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        for name in ("forward", "conv_tbc", "product"):
            owner = next(kind for kind in type(module).__mro__ if name in vars(kind))
            if not owner.__module__.startswith("fairseq.modules."):
                return UnsupportedTarget(path, module, f"{type(module).__name__} has a {name} of its own")
        if is_parametrized(module):
            return UnsupportedTarget(path, module, "its weight is parametrized")
        return cls(path, module)

    def __init__(self, path: str, module: Any):
        super().__init__(path, module)
        self.quantizers = linear_quantizers(path, has_bias=True)

    def products(self) -> list[Product]:
        module = self.module
        shape = (module.out_channels, module.kernel_size[0] * module.in_channels)
        return [linear_product(self.path, shape)._replace(has_kernel=False)]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        module = self.module
        shape = torch.empty(module.out_channels, module.kernel_size[0] * module.in_channels, device="meta")
        module.quantizers = LinearQuantizers(self.path, shape, self.own(specs), context, calibration_bits)
        return module  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Optional[LinearQuantizers] = self.module.quantizers
        if quantizers is None:
            return []
        return [(quantizers.quantizer("weight"), self.module.weight.flatten(0, 1).t())]

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        module = self.module
        macs = output.numel() * module.kernel_size[0] * module.in_channels
        return UnquantizedProduct(args[0], module.weight, macs)
