"""Convolutions, transposed ones included, of one to three axes of space."""

from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.convolution import QUANTIZED
from fairseq.quantization.plan.target import (
    Product,
    QuantizationTarget,
    Specs,
    UnquantizedProduct,
    register_target,
    retype,
)
from fairseq.quantization.plan.targets.products import linear_quantizers
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget
from fairseq.quantization.plan.unquantized_products import unquantized_product
from fairseq.quantization.products.convolution import ConvolutionQuantizers
from fairseq.quantization.products.weight_layout import WeightLayout
from fairseq.quantization.quantizer import Quantizer


@register_target(*QUANTIZED)
class ConvolutionTarget(QuantizationTarget):
    """nn.Conv1d/2d/3d or nn.ConvTranspose1d/2d/3d."""

    module: Any
    keeps_codes = True
    supports = "nn.Conv1d/2d/3d and nn.ConvTranspose1d/2d/3d"

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        base = next(kind for kind in type(module).__mro__ if kind in QUANTIZED)
        for name in ("forward", "_conv_forward"):
            own = getattr(type(module), name, None)
            if own not in (getattr(base, name, None), getattr(QUANTIZED[base], name, None)):
                return UnsupportedTarget(path, module, f"{type(module).__name__} has a {name} of its own")
        if is_parametrized(module):
            return UnsupportedTarget(path, module, "its weight is parametrized")
        return cls(path, module)

    def __init__(self, path: str, module: nn.Module):
        super().__init__(path, module)
        self.quantizers = linear_quantizers(path, module.bias is not None)

    def products(self) -> list[Product]:
        paths = {key: quantizer for key, (quantizer, _) in self.quantizers.items()}
        return [Product(self.path, paths["input"], paths["weight"], paths["grad_output"], has_kernel=False)]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        base = next(kind for kind in type(self.module).__mro__ if kind in QUANTIZED)
        layer = retype(self.module, QUANTIZED[base])
        transposed = isinstance(layer, _ConvTransposeNd)
        layer.quantizers = ConvolutionQuantizers(
            self.path, layer.weight, transposed, layer.groups, self.own(specs), context, calibration_bits
        )
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Optional[ConvolutionQuantizers] = getattr(self.module, "quantizers", None)
        if quantizers is None:
            return []
        with torch.no_grad():
            return [(quantizers.quantizer("weight"), quantizers.matrix(self.module.weight))]

    def layout(self) -> WeightLayout:
        layer = self.module
        transposed = isinstance(layer, _ConvTransposeNd)
        return WeightLayout(tuple(layer.weight.shape), transposed, layer.groups if transposed else 1)

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_product(self.module, args[0], output)
