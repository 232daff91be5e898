"""What a quantized layer has to give, and what it would give in full precision, by torch's own functions.

    reference   torch's forward of the layer, on operands rounded by `plain`; then the rounding of its result
    exact       torch's forward on the operands as they are

Both run on a twin: an object of torch's class that has the layer's settings and other parameters. Recurrent layers and
torch's attention round between their steps, so theirs is their own sequence of steps with plain products in the place
of quantized ones; that the sequence is torch's is checked without rounding.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.graph.verification.plain import plain
from fairseq.quantization.functions.attention import NAMES, QuantizedAttentionFunction
from fairseq.quantization.functions.base import QuantizedFunction, bound
from fairseq.quantization.functions.sums import QuantizedSum
from fairseq.quantization.layers.elementwise import ElementwiseQuantizers
from fairseq.quantization.layers.embedding import TableQuantizers
from fairseq.quantization.layers.matmul import QMatmul
from fairseq.quantization.layers.projection import Projection
from fairseq.quantization.layers.recurrent import RecurrentQuantizers
from fairseq.quantization.layers.torch_attention import AttentionQuantizers
from fairseq.quantization.layers.transposed_linear import QConv1D
from fairseq.quantization.products.convolution import ConvolutionQuantizers
from fairseq.quantization.products.images import seen, unseen
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.products.weighted import WeightedProduct
from fairseq.quantization.quantizer import Quantizer

Bits = Callable[[Quantizer], Optional[int]]
OURS = "fairseq.quantization."
INPUTS = {"input": ("input", "x"), "left": ("input1", "a"), "right": ("input2", "b")}  # quantizer -> parameter's name


class Reference(NamedTuple):
    """Results of a layer's call.

    Attributes:
        rounded: with plainly rounded operands.
        exact: in full precision.
        settles: rounding happens between steps or behind the product, where a last digit may decide about a level.
    """

    rounded: Any
    exact: Any
    settles: bool


class Rounding:
    """Plain rounding by the quantizers of one layer.

    Args:
        quantizers: the module that holds them.
        bits: gives a quantizer's bits.
    """

    def __init__(self, quantizers: nn.Module, bits: Bits):
        self.quantizers, self.bits = quantizers, bits

    def __call__(self, name: str, x: Tensor) -> Tensor:
        quantizer = self.quantizers._modules.get(name)
        return plain(quantizer, x, self.bits(quantizer)) if isinstance(quantizer, Quantizer) else x

    def images(self, name: str, x: Tensor, space: int) -> Tensor:
        """`x` (N, C, *S) or (C, *S), with `space` axes of space, as a convolution's quantizer sees it."""
        quantizer: Any = self.quantizers._modules.get(name)
        batch = x.unsqueeze(0) if x.dim() == space + 1 else x
        return unseen(quantizer, self(name, seen(quantizer, batch)), batch.shape[2:]).reshape(x.shape)

    def rounds(self, name: str) -> bool:
        quantizer = self.quantizers._modules.get(name)
        return isinstance(quantizer, Quantizer) and self.bits(quantizer) is not None


def references(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], bits: Bits) -> Optional[Reference]:
    """What a call of the layer has to give; None of a layer for which there is no reference."""
    quantizers, given = module.quantizers, _given(module, args, kwargs)
    rounding = Rounding(quantizers, bits)
    if isinstance(quantizers, (AttentionQuantizers, RecurrentQuantizers)):
        base = torch_class(type(module))
        return Reference(_by_steps(module, given, bits), base.forward(twin(module, base), **given), True)  # type: ignore[attr-defined]
    if isinstance(module, QMatmul):
        a, b = given["a"], given["b"]
        y = torch.matmul(rounding("left", a), rounding("right", b.mT).mT)
        return Reference(rounding("result", y), torch.matmul(a, b), rounding.rounds("result"))
    if isinstance(module, Projection):
        x, weight, bias = given["x"], given["weight"], given.get("bias")
        y = F.linear(rounding("input", x), rounding("weight", weight), _bias(rounding, bias))
        return Reference(rounding("output", y), F.linear(x, weight, bias), rounding.rounds("output"))
    if isinstance(quantizers, TableQuantizers) and quantizers.by_row and quantizers.quantizer("weight").stochastic:
        return None  # noise depends on which rows are looked up
    if isinstance(quantizers, (WeightedProduct, TableQuantizers)):
        weight = _weight(module, rounding)
        bias = _bias(rounding, module._parameters.get("bias"))
        inputs = {name: _input(module, rounding, name, value) for name, value in given.items()}
        y = _call(module, inputs, weight, bias)
        y = rounding.images("output", y, _space(module)) if _space(module) else rounding("output", y)
        exact = _call(module, given, _exact_weight(module), module._parameters.get("bias"))
        return Reference(y, exact, rounding.rounds("output"))
    if isinstance(quantizers, ElementwiseQuantizers):
        first = next(iter(given))
        base = type(module)
        inputs = {**given, first: rounding("input", given[first]).clone()}
        y = rounding("output", base.forward(module, **inputs))
        exact = base.forward(module, **{**given, first: given[first].clone()})
        return Reference(y, exact, rounding.rounds("output"))
    return None


def _given(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call by name, those that torch's layer takes."""
    given = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
    return {name: value for name, value in given.items() if name not in ("self", "num_bits")}


# --- layers that are one function -------------------------------------------------------------------------------------


def _input(module: nn.Module, rounding: Rounding, name: str, value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    for quantizer, names in INPUTS.items():
        if name in names:
            space = _space(module)
            return rounding.images(quantizer, value, space) if space else rounding(quantizer, value)
    return value


def _space(module: Any) -> int:
    """Axes of space that a convolution has."""
    return len(module.kernel_size) if isinstance(module.quantizers, ConvolutionQuantizers) else 0


def _bias(rounding: Rounding, bias: Optional[Tensor]) -> Optional[Tensor]:
    return None if bias is None else rounding("bias", bias)


def _exact_weight(module: Any) -> Tensor:
    """The weight, or the values of the codes in its place."""
    integers = getattr(module.quantizers, "integers", None)
    return module.weight.detach() if integers is None else integers.weight().to(integers.dtype)  # type: ignore[no-any-return]


def _weight(module: Any, rounding: Rounding) -> Tensor:
    """The rounded weight in the layer's own shape."""
    weight = _exact_weight(module)
    if getattr(module.quantizers, "integers", None) is not None:
        return weight
    if isinstance(module, QConv1D):
        return rounding("weight", weight.t()).t()
    if isinstance(module.quantizers, WeightedProduct):
        matrix = rounding("weight", module.quantizers.matrix(weight))
        return module.quantizers.from_matrix(matrix)
    return rounding("weight", weight)


def _call(module: Any, given: Mapping[str, Any], weight: Tensor, bias: Optional[Tensor]) -> Any:
    """torch's forward with these parameters."""
    if isinstance(module, QConv1D):
        return F.linear(given["x"], weight.t(), bias)
    kind = type(module)
    owner = next(base for base in kind.__mro__ if "forward" in vars(base))
    base = torch_class(kind) if owner.__module__.startswith(OURS) else kind  # a forward of its own around a layer's
    found = twin(module, base, weight=weight, bias=bias)
    found.__dict__["_modules"] = {**module._modules, "quantizers": None}
    return base.forward(found, **given)  # type: ignore[attr-defined]


def torch_class(kind: type) -> type:
    """The class of torch's that `kind` derives from."""
    return next(base for base in kind.__mro__ if base.__module__.startswith("torch."))


def twin(module: nn.Module, kind: type, **parameters: Optional[Tensor]) -> Any:
    """An object of `kind` with the settings of `module` and other parameters; hooks stay behind."""
    found: Any = object.__new__(kind)
    found.__dict__.update(
        {name: value for name, value in vars(module).items() if name not in (*parameters, "forward", "run")}
    )
    found.__dict__["_parameters"] = {**module._parameters, **parameters}
    if "max_norm" in vars(found):
        found.max_norm = None  # the layer itself has shortened the rows of this call
    return found


# --- layers of several steps ------------------------------------------------------------------------------------------


class PlainLinear(LinearQuantizers):
    """A linear product on plainly rounded operands; made by `_plainly`."""

    rounding: Rounding

    def forward(self, x: Tensor, weight: Tensor, bias: Optional[Tensor], num_bits: Any) -> Tensor:
        return self.steps(weight, bias, num_bits)(x, 0)

    def steps(self, weight: Tensor, bias: Optional[Tensor], num_bits: Any) -> Callable[[Tensor, int], Tensor]:
        w, b = self.rounding("weight", weight), _bias(self.rounding, bias)
        return lambda x, step: self.rounding("output", F.linear(self.rounding("input", x), w, b))


class PlainMatMul(MatMulQuantizers):
    """A product of activations on plainly rounded operands; made by `_plainly`."""

    rounding: Rounding

    def forward(self, a: Tensor, b: Tensor, num_bits: Any) -> Tensor:
        left, right = self.rounding("left", a), self.rounding("right", b.mT).mT
        return self.rounding("result", torch.matmul(left, right))


def _plainly(owner: nn.Module, bits: Bits) -> Any:
    """A twin of a module of products in which each is plain."""
    found = twin(owner, type(owner))
    found.__dict__["_modules"] = parts = {}
    for name, part in owner._modules.items():
        kind = {LinearQuantizers: PlainLinear, MatMulQuantizers: PlainMatMul}.get(type(part))  # type: ignore[arg-type]
        parts[name] = part if kind is None or part is None else twin(part, kind)
        if kind is not None:
            parts[name].__dict__["rounding"] = Rounding(part, bits)  # type: ignore[arg-type, union-attr]
    return found


def _by_steps(module: Any, given: Mapping[str, Any], bits: Bits) -> Any:
    stand_in = twin(module, type(module))
    stand_in.__dict__["_modules"] = {**module._modules, "quantizers": _plainly(module.quantizers, bits)}
    return type(module).forward(stand_in, **given)


def steps_of_torch(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[tuple[Any, Any]]:
    """The layer's steps without rounding, and torch's layer; None of a layer of one step."""
    if not isinstance(module.quantizers, (AttentionQuantizers, RecurrentQuantizers)):
        return None
    given, base = _given(module, args, kwargs), torch_class(type(module))
    return _by_steps(module, given, lambda quantizer: None), base.forward(twin(module, base), **given)  # type: ignore[attr-defined]


# --- functions --------------------------------------------------------------------------------------------------------


def function_references(
    function: QuantizedFunction, torchs: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any],
    bits: Bits,
) -> Optional[Reference]:  # fmt: skip
    """What a call of a function with quantizers has to give; `torchs` is the function itself."""
    if isinstance(function, QuantizedAttentionFunction) and bound(NAMES, args, kwargs).get("dropout_p"):
        return None  # each call drops others
    if isinstance(function, QuantizedSum):
        rounding = Rounding(function, bits)
        plainly = torch.add if function.function == "add" else torch.mul
        given = bound(("input", "other"), args, kwargs)
        a, b = given.pop("input"), given.pop("other")
        y = plainly(rounding("left", a), rounding("right", b), **given)
        return Reference(rounding("output", y), plainly(a, b, **given), rounding.rounds("output"))
    exact = torchs(*args, **kwargs)
    return Reference(_plainly(function, bits).run(torchs, args, kwargs), exact, True)
