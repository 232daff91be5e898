"""A quantization target: one module that multiplies, its path in a plan, its quantizers and how they are installed.

A new kind of layer is one class, registered for the types it stands for; plans, rules, reports, packed weights and
costs find it by that. The first class in a module's method resolution order that is registered decides.

    @register_target(nn.Conv2d)
    class ConvTarget(QuantizationTarget):
        supports = "nn.Conv2d"
        ...

>>> target = QuantizationTarget("conv1", nn.Conv2d(1, 1, 3))
>>> target.kind, target.roles, target.is_quantized({})
('Conv2d', {}, False)
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Optional, TypeVar

from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.products.weight_layout import WeightLayout
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import GRADIENT, QuantizerSpec

Specs = Mapping[str, QuantizerSpec]


class Product(NamedTuple):
    """A matrix product of a model, and the paths of its quantizers.

    Attributes:
        path: the product's.
        left, right, grad: paths of the quantizers of both operands and of the output's gradient.
        weight_shape: (out, in) where the right operand is a weight.
        heads: number of heads, and features of each, where the product is attention's.
        has_kernel: there is an integer kernel for products of its kind.
    """

    path: str
    left: str
    right: str
    grad: str
    weight_shape: Optional[tuple[int, int]] = None
    heads: Optional[tuple[int, int]] = None
    has_kernel: bool = True


class UnquantizedProduct(NamedTuple):
    """A product in full precision that has run: its factors and multiply-accumulates."""

    left: Tensor
    right: Tensor
    macs: int


class QuantizationTarget:
    """One module that multiplies, or looks rows of a table up.

    Attributes:
        path: the module's, or of what it calls.
        module: the module.
        module_path: the module's.
        quantizers: key -> (quantizer path, role); empty where there can be no quantizers.
    """

    quantizers: Mapping[Any, tuple[str, str]] = {}
    converts_by_default: ClassVar[bool] = True  # whether presets quantize it unless a rule says otherwise
    keeps_codes: ClassVar[bool] = False  # whether integer codes can take the place of its `weight`
    multiplies: ClassVar[bool] = True
    quantizers_name: ClassVar[str] = "quantizers"  # of the submodule that holds them
    owns_children: ClassVar[bool] = True  # what lies inside the module is no target of its own
    requested: ClassVar[frozenset[str]] = frozenset(("bias", "output"))  # keys of quantizers that are `on_request`
    supports: ClassVar[str] = ""  # what it quantizes, in the words of a message

    @classmethod
    def of(cls, path: str, module: Any) -> Optional["QuantizationTarget"]:
        """The target of `module`, or None if it is none."""
        return cls(path, module)

    def __init__(self, path: str, module: nn.Module):
        self.path, self.module = path, module
        self.module_path = path

    def placed_in(self, owner: nn.Module) -> None:
        """The module that the target's is a child of."""

    @property
    def kind(self) -> str:
        """The module's type."""
        return type(self.module).__name__

    @property
    def roles(self) -> dict[str, str]:
        """Quantizer path -> role."""
        return dict(self.quantizers.values())

    @property
    def on_request(self) -> frozenset[str]:
        """Paths of quantizers that stay off until a rule names them; a wider rule, which names others, does not."""
        words = {key: key[-1] if isinstance(key, tuple) else key for key in self.quantizers}
        return frozenset(path for key, (path, _) in self.quantizers.items() if words[key] in self.requested)

    def product(self, key: Any) -> Optional[str]:
        """Path of the matrix product that the quantizer `key` belongs to."""
        return self.path

    def products(self) -> list[Product]:
        """The matrix products that quantizers of this site belong to."""
        return []

    def own(self, specs: Specs) -> dict[Any, QuantizerSpec]:
        """The settings of this site's quantizers, by key."""
        return {key: specs[path] for key, (path, _) in self.quantizers.items()}

    def is_quantized(self, specs: Specs) -> bool:
        """Whether any of its forward quantizers is on; a gradient alone is not rounded."""
        return any(specs[path].quantize for path, role in self.quantizers.values() if role != GRADIENT)

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        """The module with quantizers; parameters are shared with the old one, or it is the old one."""
        raise NotImplementedError

    def remove(self) -> nn.Module:
        """The module without quantizers."""
        if getattr(self.module, "quantizers", None) is None:
            return self.module
        if "_type_before" in self.module.__dict__:
            del self.module.quantizers  # which it did not have
        else:
            self.module.quantizers = None  # type: ignore[assignment]
        return untype(self.module)

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        """The quantizers of its weights, with the weights that they round; none before `install`."""
        return []

    def layout(self) -> Optional[WeightLayout]:
        """How its weight is a matrix, where codes can take its place; None of one that is a matrix."""
        return None

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        """What a call of the module without quantizers has multiplied; None where that cannot be told.

        Args:
            args: the call's arguments, those given by keyword last.
        """
        return None


TARGETS: dict[type, type[QuantizationTarget]] = {}
TARGETS_BY_NAME: dict[str, type[QuantizationTarget]] = {}  # of classes in libraries that need not be installed
Kind = TypeVar("Kind", bound=type[QuantizationTarget])


def register_target(*types: type[nn.Module], names: tuple[str, ...] = ()) -> Callable[[Kind], Kind]:
    """Class decorator: modules of `types`, and of classes with these full names, are targets of this class."""

    def register(kind: Kind) -> Kind:
        TARGETS.update(dict.fromkeys(types, kind))
        TARGETS_BY_NAME.update(dict.fromkeys(names, kind))
        return kind

    return register


def retype(module: nn.Module, kind: type[nn.Module]) -> Any:
    """`module` as an instance of a subclass without state of its own: parameters, hooks and settings are shared."""
    if isinstance(module, kind):
        return module
    result = kind.__new__(kind)
    result.__dict__.update(module.__dict__)
    result.__dict__["_type_before"] = type(module)
    return result


def untype(module: nn.Module) -> nn.Module:
    """Undo `retype`."""
    kind = module.__dict__.pop("_type_before", None)
    if kind is None:
        return module
    result: nn.Module = kind.__new__(kind)
    result.__dict__.update(module.__dict__)
    return result


Site, SITES, register_site = QuantizationTarget, TARGETS, register_target  # their names until the next release
