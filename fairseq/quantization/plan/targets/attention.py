"""torch's nn.MultiheadAttention: four linear products and two of activations."""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.torch_attention import (
    PRODUCTS,
    PROJECTIONS,
    AttentionQuantizers,
    QMultiheadAttention,
    projection_weights,
    quantizer_paths,
)
from fairseq.quantization.plan.target import (
    Product,
    QuantizationTarget,
    Specs,
    UnquantizedProduct,
    register_target,
    retype,
)
from fairseq.quantization.plan.targets.matmul import matmul_product
from fairseq.quantization.plan.targets.products import linear_product
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget
from fairseq.quantization.plan.unquantized_products import attention_product
from fairseq.quantization.quantizer import Quantizer


@register_target(nn.MultiheadAttention)
class AttentionTarget(QuantizationTarget):
    """torch's nn.MultiheadAttention."""

    module: nn.MultiheadAttention
    supports = "nn.MultiheadAttention"

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        if type(module).forward not in (nn.MultiheadAttention.forward, QMultiheadAttention.forward):
            return UnsupportedTarget(path, module, f"{type(module).__name__} has a forward of its own")
        return cls(path, module)

    def __init__(self, path: str, module: nn.MultiheadAttention):
        super().__init__(path, module)
        self.quantizers = quantizer_paths(path, module.in_proj_bias is not None)

    def products(self) -> list[Product]:
        attention, prefix = self.module, f"{self.path}." if self.path else ""
        weights = *projection_weights(attention), attention.out_proj.weight
        linear = [
            linear_product(prefix + part, tuple(weight.shape))  # type: ignore[arg-type]
            for part, weight in zip(PROJECTIONS, weights, strict=True)
        ]
        heads = attention.num_heads, attention.head_dim
        return linear + [matmul_product(prefix + part, module, heads) for part, module in PRODUCTS.items()]

    def product(self, key: Any) -> Optional[str]:
        part: str = key[0]
        return f"{self.path}.{part}".lstrip(".")

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QMultiheadAttention)
        layer.quantizers = AttentionQuantizers(self.path, layer, self.own(specs), context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Any = getattr(self.module, "quantizers", None)
        if quantizers is None:
            return []
        weights = (*projection_weights(self.module), self.module.out_proj.weight)
        parts = [quantizers.part(name).quantizer("weight") for name in PROJECTIONS]
        return list(zip(parts, weights, strict=True))

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return attention_product(self.module, *args[:3])
