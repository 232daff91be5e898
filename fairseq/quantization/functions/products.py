"""Matrix products of two tensors by function: `a @ b`, `torch.bmm`, `torch.addmm`, `torch.einsum` and their like.

    y = Q(a) Q(b),   dL/da = Q(g) Q(b)^T,   dL/db = Q(a)^T Q(g),   g = dL/dy,   and Q(y) where a rule asks for it

with quantizers `<path>.left`, `.right`, `.grad_output` and `.output`. What is added (`addmm`) stays in full precision.
"""

from collections.abc import Callable, Mapping
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.quantization.functions.base import (
    FunctionProduct,
    QuantizedFunction,
    Shapes,
    bound,
    is_on,
    register_function,
    why_not_numbers,
)
from fairseq.quantization.functions.einsum import Contraction
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.products.simulated import notify_full_precision
from fairseq.quantization.spec import ACTIVATION, GRADIENT, QuantizerSpec

KEYS = {"left": ("left", ACTIVATION), "right": ("right", ACTIVATION), "grad_output": ("grad_output", GRADIENT)}
KEYS["result"] = ("output", ACTIVATION)

PLAIN = {"matmul": ("input", "other"), "mm": ("input", "mat2"), "bmm": ("input", "mat2"), "mv": ("input", "vec")}
PLAIN["dot"] = ("input", "tensor")
ADDING = {
    "addmm": ("input", "mat1", "mat2"),
    "addmv": ("input", "mat", "vec"),
    "baddbmm": ("input", "batch1", "batch2"),
}


def multiply(quantizers: MatMulQuantizers, a: Tensor, b: Tensor) -> Tensor:
    """`torch.matmul(a, b)`, vectors and broadcasting included, with quantized operands."""
    left, right = (a[None] if a.dim() == 1 else a), (b[:, None] if b.dim() == 1 else b)
    leading = left.shape[:-2]
    if right.dim() == 2:
        y = quantizers(left.reshape(-1, left.shape[-1]), right, None)  # (..., T, K) -> (M, K)
        y = y.view(*leading, left.shape[-2], right.shape[-1])
    else:
        leading = torch.broadcast_shapes(leading, right.shape[:-2])
        y = quantizers(left.expand(*leading, *left.shape[-2:]), right.expand(*leading, *right.shape[-2:]), None)
    y = y.squeeze(-1) if b.dim() == 1 else y
    return y.squeeze(-1 if b.dim() == 1 else -2) if a.dim() == 1 else y  # type: ignore[no-any-return]


@register_function(*PLAIN, *ADDING, "einsum")
class QuantizedProduct(QuantizedFunction):
    """One product."""

    def build(self, specs: Mapping[Any, QuantizerSpec], calibration_bits: int, shapes: Shapes) -> None:
        paths = self.quantizer_paths(self.path, shapes)
        if not is_on(specs["result"]):
            del paths["result"]
        self.quantizers = MatMulQuantizers(self.path, paths, specs, self.context, calibration_bits)

    @classmethod
    def quantizer_paths(cls, path: str, shapes: Shapes) -> dict[Any, tuple[str, str]]:
        return {key: (f"{path}.{word}", role) for key, (word, role) in KEYS.items()}

    @classmethod
    def products(cls, path: str) -> list[FunctionProduct]:
        return [FunctionProduct(path, f"{path}.left", f"{path}.right", f"{path}.grad_output")]

    @classmethod
    def obstacle(cls, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[str]:
        if kwargs.get("out") is not None or kwargs.get("out_dtype") is not None:
            return "it is given a tensor or a type for its result"
        if function == "einsum":
            return Contraction.obstacle(args) or why_not_numbers(*Contraction.operands(args))
        names = {**PLAIN, **ADDING}[function]
        given = bound(names, args, kwargs)
        return why_not_numbers(*(given.get(name) for name in names[-2:]))

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        bits = self.quantizers.bits_at(self.context.resolve(None))
        if bits.full_precision and bits.result is None:
            y = function(*args, **kwargs)
            self._notify(y, args, kwargs)
            return y
        if self.function == "einsum":
            return Contraction.of(args).run(lambda a, b: multiply(self.quantizers, a, b))
        if self.function in PLAIN:
            given = bound(PLAIN[self.function], args, kwargs)
            return multiply(self.quantizers, *(given[name] for name in PLAIN[self.function]))
        given = bound(ADDING[self.function], args, kwargs)
        beta, alpha = given.get("beta", 1), given.get("alpha", 1)
        term, *factors = (given[name] for name in ADDING[self.function])
        y = multiply(self.quantizers, *factors)
        y = y if alpha == 1 else y * alpha
        return y if beta == 0 else torch.add(y, term, alpha=beta)  # as torch has it, beta 0 hides NaN of the term

    def _notify(self, y: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tell costs of a product in full precision."""
        if self.context.callbacks:
            names = PLAIN.get(self.function) or ADDING.get(self.function)
            given = {} if names is None else bound(names, args, kwargs)
            a, b = Contraction.operands(args) if names is None else [given[name] for name in names[-2:]]
            summed = Contraction.of(args).summed if names is None else a.shape[-1]
            notify_full_precision(self.context.callbacks, self.path, a, b, y.numel() * summed)
