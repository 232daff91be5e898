"""Products of two activations that a `MatMul` stands for."""

from collections.abc import Mapping
from typing import Any, Optional

from torch import nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.matmul import MatMul, QMatmul
from fairseq.quantization.plan.target import Product, QuantizationTarget, Specs, UnquantizedProduct, register_target
from fairseq.quantization.plan.targets.products import unquantized_linear
from fairseq.quantization.products.matmul import MatMulQuantizers


def matmul_product(path: str, module: MatMul, heads: Optional[tuple[int, int]]) -> Product:
    """The product of `module` at `path`, inside an attention with `heads` (number, features of each)."""
    return product_of(path, module.paths(path), heads)


def product_of(path: str, quantizers: Mapping[str, tuple[str, str]], heads: Optional[tuple[int, int]]) -> Product:
    """The product at `path`, with its quantizers by key."""
    left, right, grad = (quantizers[key][0] for key in ("left", "right", "grad_output"))
    return Product(path, left, right, grad, heads=heads)


@register_target(MatMul)
class MatMulTarget(QuantizationTarget):
    """A `MatMul`: a product of two activations.

    Attributes:
        heads: how many the attention that owns it has, and the features of each; None where that is not known.
    """

    module: MatMul
    heads: Optional[tuple[int, int]] = None
    supports = "fairseq.quantization.MatMul"

    def __init__(self, path: str, module: MatMul):
        super().__init__(path, module)
        self.quantizers = module.paths(path)

    def placed_in(self, owner: nn.Module) -> None:
        self.heads = heads_of(owner)
        others = [each for each in owner.children() if isinstance(each, MatMul) and each is not self.module]
        if any(each.names & self.module.names for each in others):
            self.quantizers = self.module.paths(self.path, behind=self.path)

    def products(self) -> list[Product]:
        return [product_of(self.path, self.quantizers, self.heads)]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        quantizers = MatMulQuantizers(self.path, self.quantizers, self.own(specs), context, calibration_bits)
        layer = QMatmul(self.module.left, self.module.right, self.module.output, quantizers=quantizers)
        layer.training = self.module.training
        return layer

    def remove(self) -> nn.Module:
        if not isinstance(self.module, QMatmul):
            return self.module
        return MatMul(self.module.left, self.module.right, self.module.output).train(self.module.training)

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_linear(args[0], args[1], output)


def heads_of(owner: nn.Module) -> Optional[tuple[int, int]]:
    """Number and features of an attention's heads, where it has them under the names of torch and fairseq."""
    found = tuple(getattr(owner, name, None) for name in ("num_heads", "head_dim"))
    return found if all(isinstance(number, int) for number in found) else None  # type: ignore[return-value]
