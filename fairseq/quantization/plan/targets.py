"""Where a model multiplies: its Linear layers, embeddings, products of activations, torch's attention modules, and the
modules that stay in full precision.

One class per kind of layer, registered for the types it stands for (see `target.py`). Modules that hide their product
from quantizers (a subclass of nn.Linear with its own forward, a parametrized weight) are targets, too: a rule that
would quantize them is an error.

>>> from torch import nn
>>> [path for target in find_targets(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) for path in target.roles]
['0.weight', '0.input', '0.grad_output']
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.embedding import QEmbedding, TableQuantizer
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.layers.matmul import MatMul, QMatmul
from fairseq.quantization.layers.projection import Projection
from fairseq.quantization.layers.torch_attention import (
    PRODUCTS,
    PROJECTIONS,
    AttentionQuantizers,
    QMultiheadAttention,
    projection_weights,
    quantizer_paths,
)
from fairseq.quantization.plan.target import (
    TARGETS,
    Product,
    QuantizationTarget,
    Specs,
    UnquantizedProduct,
    register_target,
    retype,
)
from fairseq.quantization.plan.unquantized_products import attention_product, unquantized_product
from fairseq.quantization.products.linear import LINEAR_ROLES, LinearQuantizers
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import WEIGHT


def linear_quantizers(path: str) -> dict[str, tuple[str, str]]:
    """Quantizers of a linear product at `path`."""
    return {key: (f"{path}.{key}".lstrip("."), role) for key, role in LINEAR_ROLES.items()}


def linear_product(path: str, shape: tuple[int, int]) -> Product:
    """The product at `path` with a weight of `shape` (out, in)."""
    quantizers = linear_quantizers(path)
    paths = {key: quantizer for key, (quantizer, _) in quantizers.items()}
    return Product(path, paths["input"], paths["weight"], paths["grad_output"], weight_shape=shape)


def _unquantized_linear(x: Tensor, weight: Tensor, output: Tensor) -> UnquantizedProduct:
    return UnquantizedProduct(x, weight, output.numel() * x.shape[-1])


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
        self.quantizers = linear_quantizers(path)

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
        return _unquantized_linear(args[0], self.module.weight, output)  # type: ignore[arg-type]


@register_target(Projection)
class ProjectionTarget(QuantizationTarget):
    """A `Projection`: a linear product with a weight that another module owns."""

    module: Projection
    supports = "fairseq.quantization.layers.Projection"

    def __init__(self, path: str, module: Projection):
        super().__init__(path, module)
        self.quantizers = linear_quantizers(path)

    def products(self) -> list[Product]:
        return [linear_product(self.path, (self.module.out_features, self.module.in_features))]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        shape = torch.empty(self.module.out_features, self.module.in_features, device="meta")
        self.module.quantizers = LinearQuantizers(self.path, shape, self.own(specs), context, calibration_bits)
        return self.module

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return _unquantized_linear(args[0], args[1], output)


@register_target(nn.Embedding)
class EmbeddingTarget(QuantizationTarget):
    """nn.Embedding: quantized only where a rule says so."""

    converts_by_default = False
    keeps_codes = True
    multiplies = False
    supports = "nn.Embedding (where a rule says so)"

    @classmethod
    def of(cls, path: str, module: Any) -> Optional[QuantizationTarget]:
        # a subclass with a forward of its own looks rows up by other means, unless it is a QEmbedding and calls that
        usual = isinstance(module, QEmbedding) or type(module).forward is nn.Embedding.forward
        return cls(path, module) if usual else None

    def __init__(self, path: str, module: nn.Embedding):
        super().__init__(path, module)
        self.quantizers = {"weight": (f"{path}.weight".lstrip("."), WEIGHT)}

    def product(self, key: Any) -> Optional[str]:
        return None  # rows are looked up, nothing is multiplied

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        layer = retype(self.module, QEmbedding)
        layer.quantizers = TableQuantizer(self.path, layer.weight, self.own(specs)["weight"], context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Any = getattr(self.module, "quantizers", None)
        return [] if quantizers is None else [(quantizers.weight, self.module.weight)]  # type: ignore[list-item]


def matmul_product(path: str, module: MatMul, heads: Optional[tuple[int, int]]) -> Product:
    """The product of `module` at `path`, inside an attention with `heads` (number, features of each)."""
    paths = {key: quantizer for key, (quantizer, _) in module.paths(path).items()}
    return Product(path, paths["left"], paths["right"], paths["grad_output"], heads=heads)


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

    def products(self) -> list[Product]:
        return [matmul_product(self.path, self.module, self.heads)]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        paths = self.module.paths(self.path)
        quantizers = MatMulQuantizers(self.path, paths, self.own(specs), context, calibration_bits)
        layer = QMatmul(self.module.left, self.module.right, self.module.output, quantizers=quantizers)
        layer.training = self.module.training
        return layer

    def remove(self) -> nn.Module:
        if not isinstance(self.module, QMatmul):
            return self.module
        return MatMul(self.module.left, self.module.right, self.module.output).train(self.module.training)

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return _unquantized_linear(args[0], args[1], output)


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
        self.quantizers = quantizer_paths(path)

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


class UnsupportedTarget(QuantizationTarget):
    """A module whose product no quantizer would see."""

    def __init__(self, path: str, module: nn.Module, reason: str):
        super().__init__(path, module)
        self.reason = reason
        self.quantizers = linear_quantizers(path)

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        raise ConfigError(
            f"cannot quantize {self.path!r}: {self.reason}; use nn.Linear there, or exclude it with the rule "
            f"{{match: {self.path + '.*'!r}, quantize: false}}"
        )

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        if isinstance(self.module, nn.Linear) and isinstance(output, Tensor):
            return _unquantized_linear(args[0], self.module.weight, output)
        return None


@register_target(_ConvNd, nn.RNNBase, nn.RNNCellBase, nn.Bilinear)
class FullPrecisionTarget(QuantizationTarget):
    """A module of torch's that multiplies and has no quantizers (yet): it is only listed in the plan."""

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_product(self.module, args[0], output)


def target_of(path: str, module: nn.Module) -> Optional[QuantizationTarget]:
    """The target of `module`, by the first of its classes that is registered; None if there is none."""
    kind = next((TARGETS[base] for base in type(module).__mro__ if base in TARGETS), None)
    return None if kind is None else kind.of(path, module)


def find_targets(model: nn.Module) -> list[QuantizationTarget]:
    """Every target of `model`, in the order of its modules; a module shared between places appears once."""
    targets: list[QuantizationTarget] = []
    inside: Optional[str] = None  # children of a target belong to it
    for path, module in model.named_modules():
        if inside is not None and path.startswith(inside):
            continue
        target = target_of(path, module)
        if target is not None:
            if isinstance(target, MatMulTarget) and path:
                target.heads = heads_of(model.get_submodule(path.rpartition(".")[0]))
            targets.append(target)
            inside = f"{path}." if path else ""
    return targets


def heads_of(owner: nn.Module) -> Optional[tuple[int, int]]:
    """Number and features of an attention's heads, where it has them under the names of torch and fairseq."""
    found = tuple(getattr(owner, name, None) for name in ("num_heads", "head_dim"))
    return found if all(isinstance(number, int) for number in found) else None  # type: ignore[return-value]


def close_fast_paths(model: nn.Module) -> None:
    """Make torch's transformer layers call their submodules: their fused kernel would use the float weights."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # what the layer asks before it takes its fast path
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
