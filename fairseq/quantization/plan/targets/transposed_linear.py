"""The linear layer of GPT-2 in `transformers`, known by its name: that library need not be installed."""

from typing import Any, Optional

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.transposed_linear import QConv1D
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
from fairseq.quantization.products.weight_layout import WeightLayout
from fairseq.quantization.quantizer import Quantizer


@register_target(QConv1D, names=("transformers.pytorch_utils.Conv1D", "transformers.modeling_utils.Conv1D"))
class TransposedLinearTarget(QuantizationTarget):
    """A Conv1D of `transformers`."""

    module: Any
    keeps_codes = True
    supports = "transformers' Conv1D"

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        if type(module).__name__ not in ("Conv1D", "QConv1D"):
            return UnsupportedTarget(path, module, f"{type(module).__name__} is a Conv1D with a class of its own")
        if is_parametrized(module):
            return UnsupportedTarget(path, module, "its weight is parametrized")
        return cls(path, module)

    def __init__(self, path: str, module: Any):
        super().__init__(path, module)
        self.quantizers = linear_quantizers(path, module.bias is not None)

    def products(self) -> list[Product]:
        inputs, outputs = self.module.weight.shape
        return [linear_product(self.path, (outputs, inputs))._replace(has_kernel=False)]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QConv1D)
        layer.quantizers = LinearQuantizers(self.path, layer.weight.t(), self.own(specs), context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Optional[LinearQuantizers] = getattr(self.module, "quantizers", None)
        return [] if quantizers is None else [(quantizers.quantizer("weight"), self.module.weight.t())]

    def layout(self) -> WeightLayout:
        return WeightLayout(tuple(self.module.weight.shape), by_second=True)

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_linear(args[0], self.module.weight, output)
