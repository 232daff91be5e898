"""nn.Bilinear: a product of two inputs and a weight."""

from typing import Any, Optional

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.bilinear import QBilinear
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
from fairseq.quantization.products.bilinear import BilinearQuantizers
from fairseq.quantization.quantizer import Quantizer


@register_target(nn.Bilinear)
class BilinearTarget(QuantizationTarget):
    """nn.Bilinear, whose inputs are called left and right."""

    module: Any
    supports = "nn.Bilinear"

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        if type(module).forward not in (nn.Bilinear.forward, QBilinear.forward):
            return UnsupportedTarget(path, module, f"{type(module).__name__} has a forward of its own")
        if is_parametrized(module):
            return UnsupportedTarget(path, module, "its weight is parametrized")
        return cls(path, module)

    def __init__(self, path: str, module: nn.Module):
        super().__init__(path, module)
        usual = linear_quantizers(path, module.bias is not None)
        _, role = usual.pop("input")
        inputs = {key: (f"{path}.{key}".lstrip("."), role) for key in ("left", "right")}
        self.quantizers = {"weight": usual.pop("weight"), **inputs, **usual}

    def products(self) -> list[Product]:
        paths = {key: quantizer for key, (quantizer, _) in self.quantizers.items()}
        weight, grad = paths["weight"], paths["grad_output"]
        return [Product(self.path, paths[key], weight, grad, has_kernel=False) for key in ("left", "right")]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QBilinear)
        layer.quantizers = BilinearQuantizers(self.path, layer.weight, self.own(specs), context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Optional[BilinearQuantizers] = getattr(self.module, "quantizers", None)
        return [] if quantizers is None else [(quantizers.quantizer("weight"), self.module.weight.detach().flatten(1))]

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_product(self.module, args[0], output)
