"""Where a model can be quantized: its Linear layers, embeddings, products of activations and torch's attention modules.

A site knows the quantizers it would have and how to install them. Modules that hide their product from quantizers (a
subclass of nn.Linear with a forward of its own, a parametrized weight) are sites, too: a rule that would quantize them
is an error.

>>> from torch import nn
>>> [path for site in find_sites(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) for path in site.roles]
['0.weight', '0.input', '0.grad_output']
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.errors import ConfigError
from fairseq.quantization.context import Step
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
from fairseq.quantization.products.linear import LINEAR_ROLES, LinearQuantizers
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.spec import WEIGHT, QuantizerSpec

Specs = Mapping[str, QuantizerSpec]


class Product(NamedTuple):
    """A matrix product of a model, and the paths of its quantizers.

    Attributes:
        path: the product's.
        left, right, grad: paths of the quantizers of both operands and of the output's gradient.
        weight_shape: (out, in) where the right operand is a weight.
        heads: number of heads, and features of each, where the product is attention's.
    """

    path: str
    left: str
    right: str
    grad: str
    weight_shape: Optional[tuple[int, int]] = None
    heads: Optional[tuple[int, int]] = None


class Site:
    """One module that can be quantized.

    Attributes:
        path: the module's.
        module: the module.
        points: key -> (quantizer path, role).
    """

    points: Mapping[Any, tuple[str, str]]
    converts_by_default = True  # whether presets quantize it unless a rule says otherwise

    def __init__(self, path: str, module: nn.Module):
        self.path, self.module = path, module

    @property
    def roles(self) -> dict[str, str]:
        """Quantizer path -> role."""
        return dict(self.points.values())

    def product(self, key: Any) -> Optional[str]:
        """Path of the matrix product that the quantizer `key` belongs to."""
        return self.path

    def products(self) -> list[Product]:
        """The matrix products that quantizers of this site belong to."""
        return []

    def own(self, specs: Specs) -> dict[Any, QuantizerSpec]:
        """The settings of this site's quantizers, by key."""
        return {key: specs[path] for key, (path, _) in self.points.items()}

    def is_quantized(self, specs: Specs) -> bool:
        """Whether any of its forward quantizers is on; a gradient alone is not rounded."""
        return any(specs[path].quantize for path, role in self.points.values() if role != "gradient")

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        """The module with quantizers; parameters are shared with the old one, or it is the old one."""
        raise NotImplementedError

    def remove(self) -> nn.Module:
        """The module without quantizers."""
        if getattr(self.module, "quantizers", None) is not None:
            self.module.quantizers = None  # type: ignore[assignment]
        return self.module


def retype(module: nn.Module, kind: type[nn.Module]) -> Any:
    """`module` as an instance of a subclass without state of its own: parameters, hooks and settings are shared."""
    if isinstance(module, kind):
        return module
    result = kind.__new__(kind)
    result.__dict__.update(module.__dict__)
    return result


def linear_points(path: str) -> dict[str, tuple[str, str]]:
    """Quantizers of a linear product at `path`."""
    return {key: (f"{path}.{key}".lstrip("."), role) for key, role in LINEAR_ROLES.items()}


def linear_product(path: str, shape: tuple[int, int]) -> Product:
    """The product at `path` with a weight of `shape` (out, in)."""
    points = linear_points(path)
    paths = {key: quantizer for key, (quantizer, _) in points.items()}
    return Product(path, paths["input"], paths["weight"], paths["grad_output"], weight_shape=shape)


class LinearSite(Site):
    """nn.Linear or `QLinear`."""

    def __init__(self, path: str, module: nn.Linear):
        super().__init__(path, module)
        self.points = linear_points(path)

    def products(self) -> list[Product]:
        return [linear_product(self.path, (self.module.out_features, self.module.in_features))]  # type: ignore[arg-type]

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        layer = retype(self.module, QLinear)
        layer.quantizers = LinearQuantizers(self.path, layer.weight, self.own(specs), step, reference_bits)
        return layer  # type: ignore[no-any-return]


class ProjectionSite(Site):
    """A `Projection`: a linear product with somebody else's weight."""

    module: Projection

    def __init__(self, path: str, module: Projection):
        super().__init__(path, module)
        self.points = linear_points(path)

    def products(self) -> list[Product]:
        return [linear_product(self.path, (self.module.out_features, self.module.in_features))]

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        shape = torch.empty(self.module.out_features, self.module.in_features, device="meta")
        self.module.quantizers = LinearQuantizers(self.path, shape, self.own(specs), step, reference_bits)
        return self.module


class EmbeddingSite(Site):
    """nn.Embedding: quantized only where a rule says so."""

    converts_by_default = False

    def __init__(self, path: str, module: nn.Embedding):
        super().__init__(path, module)
        self.points = {"weight": (f"{path}.weight".lstrip("."), WEIGHT)}

    def product(self, key: Any) -> Optional[str]:
        return None  # rows are looked up, nothing is multiplied

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        layer = retype(self.module, QEmbedding)
        layer.quantizers = TableQuantizer(self.path, layer.weight, self.own(specs)["weight"], step, reference_bits)
        return layer  # type: ignore[no-any-return]


def matmul_product(path: str, module: MatMul, heads: Optional[tuple[int, int]]) -> Product:
    """The product of `module` at `path`, inside an attention with `heads` (number, features of each)."""
    paths = {key: quantizer for key, (quantizer, _) in module.paths(path).items()}
    return Product(path, paths["left"], paths["right"], paths["grad_output"], heads=heads)


class MatMulSite(Site):
    """A `MatMul`: a product of two activations.

    Attributes:
        heads: how many the attention that owns it has, and the features of each; None where that is not known.
    """

    module: MatMul
    heads: Optional[tuple[int, int]] = None

    def __init__(self, path: str, module: MatMul):
        super().__init__(path, module)
        self.points = module.paths(path)

    def products(self) -> list[Product]:
        return [matmul_product(self.path, self.module, self.heads)]

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        paths = self.module.paths(self.path)
        quantizers = MatMulQuantizers(self.path, paths, self.own(specs), step, reference_bits)
        layer = QMatmul(self.module.left, self.module.right, self.module.output, quantizers=quantizers)
        layer.training = self.module.training
        return layer

    def remove(self) -> nn.Module:
        if not isinstance(self.module, QMatmul):
            return self.module
        return MatMul(self.module.left, self.module.right, self.module.output).train(self.module.training)


class AttentionSite(Site):
    """torch's nn.MultiheadAttention."""

    module: nn.MultiheadAttention

    def __init__(self, path: str, module: nn.MultiheadAttention):
        super().__init__(path, module)
        self.points = quantizer_paths(path)

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

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        layer = retype(self.module, QMultiheadAttention)
        layer.quantizers = AttentionQuantizers(self.path, layer, self.own(specs), step, reference_bits)
        return layer  # type: ignore[no-any-return]


class HiddenSite(Site):
    """A module whose product no quantizer would see."""

    def __init__(self, path: str, module: nn.Module, reason: str):
        super().__init__(path, module)
        self.reason = reason
        self.points = linear_points(path)

    def install(self, specs: Specs, step: Step, reference_bits: int) -> nn.Module:
        raise ConfigError(
            f"cannot quantize {self.path!r}: {self.reason}; use nn.Linear there, or exclude it with the rule "
            f"{{match: {self.path + '.*'!r}, quantize: false}}"
        )


def site_of(path: str, module: nn.Module) -> Optional[Site]:
    """The site that `module` is, if it is one."""
    if isinstance(module, MatMul):
        return MatMulSite(path, module)
    if isinstance(module, Projection):
        return ProjectionSite(path, module)
    if isinstance(module, nn.MultiheadAttention):
        if type(module).forward not in (nn.MultiheadAttention.forward, QMultiheadAttention.forward):
            return HiddenSite(path, module, f"{type(module).__name__} has a forward of its own")
        return AttentionSite(path, module)
    if isinstance(module, nn.Linear):
        if type(module).forward not in (nn.Linear.forward, QLinear.forward):
            return HiddenSite(path, module, f"{type(module).__name__} has a forward of its own")
        if is_parametrized(module):
            return HiddenSite(path, module, "its weight is parametrized")
        return LinearSite(path, module)
    # a subclass with a forward of its own looks rows up by other means, unless it is a QEmbedding and calls that
    if isinstance(module, QEmbedding) or (
        isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward
    ):
        return EmbeddingSite(path, module)
    return None


def find_sites(model: nn.Module) -> list[Site]:
    """Every site of `model`, in the order of its modules; a module shared between places appears once."""
    sites: list[Site] = []
    inside: Optional[str] = None  # a site's own children are its affair
    for path, module in model.named_modules():
        if inside is not None and path.startswith(inside):
            continue
        site = site_of(path, module)
        if site is not None:
            if isinstance(site, MatMulSite) and path:
                site.heads = heads_of(model.get_submodule(path.rpartition(".")[0]))
            sites.append(site)
            inside = f"{path}." if path else ""
    return sites


def heads_of(owner: nn.Module) -> Optional[tuple[int, int]]:
    """Number and features of an attention's heads, where it has them under the names of torch and fairseq."""
    found = tuple(getattr(owner, name, None) for name in ("num_heads", "head_dim"))
    return found if all(isinstance(number, int) for number in found) else None  # type: ignore[return-value]


def close_fast_paths(model: nn.Module) -> None:
    """Have torch's transformer layers call their parts: evaluation would run a fused kernel on float weights."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # what the layer asks before it takes its fast path
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
