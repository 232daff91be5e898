"""`QuantizedFunction`: one call of a function in a module's forward, with quantizers.

A class per kind of function is registered for the names it stands for, and found by them.

>>> sorted(FUNCTIONS)[:3], FUNCTIONS["bmm"].__name__
(['add', 'addmm', 'addmv'], 'QuantizedProduct')
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Optional, TypeVar

from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import GRADIENT, QuantizerSpec

Shapes = tuple[tuple[int, ...], ...]  # of the tensors that a function is given


class FunctionProduct(NamedTuple):
    """A matrix product of a function: its path, and those of the quantizers of both operands and of the gradient."""

    path: str
    left: str
    right: str
    grad: str


class QuantizedFunction(nn.Module):
    """A function with quantizers.

    Args:
        path: the call's, `<path of the module>.<function>`.
        function: its name.
        specs: settings of the quantizers, by the keys of `quantizer_paths`.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
        shapes: of the tensors that the function was given when it was found.
    """

    names: ClassVar[tuple[str, ...]] = ()  # of the arguments whose shapes it needs, in their order
    on_request: ClassVar[bool] = False  # only a rule that names it quantizes it
    has_order: ClassVar[bool] = True  # each call of the function counts, whether a rule quantizes it or not

    def __init__(
        self,
        path: str,
        function: str,
        specs: Mapping[Any, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int,
        shapes: Shapes,
    ):
        super().__init__()
        self.path, self.function, self.context = path, function, context
        self._active: dict[int, bool] = {}
        self.build(specs, calibration_bits, shapes)

    @abstractmethod
    def build(self, specs: Mapping[Any, QuantizerSpec], calibration_bits: int, shapes: Shapes) -> None:
        """Make the quantizers."""

    @classmethod
    @abstractmethod
    def quantizer_paths(cls, path: str, shapes: Shapes) -> dict[Any, tuple[str, str]]:
        """key -> (quantizer path, role) of a call at `path` with tensors of `shapes`."""

    @classmethod
    def products(cls, path: str) -> list[FunctionProduct]:
        """Its matrix products."""
        return []

    @classmethod
    def product(cls, path: str, key: Any) -> Optional[str]:
        """Path of the product that the quantizer `key` belongs to."""
        return path

    @classmethod
    @abstractmethod
    def obstacle(cls, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[str]:
        """Why a call with these arguments cannot be quantized, in words; None if it can."""

    def is_active(self, num_bits: int) -> bool:
        """Whether a call that the context resolved to `num_bits` rounds anything."""
        known = self._active.get(num_bits)
        if known is None:
            forward = [part for part in self.modules() if isinstance(part, Quantizer) and part.role != GRADIENT]
            known = self._active[num_bits] = any(quantizer.bits(num_bits) is not None for quantizer in forward)
        return known

    def forward(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`run`, as a call of a module, which hooks and recorders see."""
        return self.run(function, args, kwargs)

    @abstractmethod
    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """`function(*args, **kwargs)` with quantized operands."""


FUNCTIONS: dict[str, type[QuantizedFunction]] = {}
Kind = TypeVar("Kind", bound=type[QuantizedFunction])


def register_function(*names: str) -> Callable[[Kind], Kind]:
    """Class decorator: calls of functions with these names are of this class."""

    def register(kind: Kind) -> Kind:
        FUNCTIONS.update(dict.fromkeys(names, kind))
        return kind

    return register


def is_on(spec: QuantizerSpec) -> bool:
    """Whether a quantizer with these settings rounds at any bits; one that does not need not be made."""
    return spec.quantize and spec.bits is not None


def why_not_numbers(*operands: Any) -> Optional[str]:
    """The obstacle of operands that are no dense floating-point tensors."""
    for operand in operands:
        if not isinstance(operand, Tensor):
            return "an operand is no tensor"
        if not operand.is_floating_point():
            return f"an operand is of {str(operand.dtype).removeprefix('torch.')}"
        if operand.is_nested or operand.is_sparse:
            return "an operand is nested or sparse"
    return None


def bound(names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name: `names` are those of positions.

    >>> bound(("input", "other"), (1,), {"other": 2})
    {'input': 1, 'other': 2}
    """
    return {**dict(zip(names, args, strict=False)), **kwargs}
