"""Sums and products element by element, `x + y` and `x * gate`: quantized where a rule names them.

    y = Q(Q(a) + Q(b)),   y = Q(Q(a) Q(b))

with quantizers `<path>.left`, `.right`, `.output`. Numbers, tensors without axes, integers and masks do not count: a
residual sum is `add` whether a constant was added before it or not.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Optional

import torch
from torch import Tensor

from fairseq.quantization.functions.base import (
    QuantizedFunction,
    Shapes,
    bound,
    is_on,
    register_function,
    why_not_numbers,
)
from fairseq.quantization.quantizer import Quantizer, one_line_repr
from fairseq.quantization.spec import ACTIVATION, QuantizerSpec

NAMES = ("input", "other")
KEYS = ("left", "right", "output")


@register_function("add", "mul")
class QuantizedSum(QuantizedFunction):
    """One sum or product of two tensors of numbers."""

    on_request: ClassVar[bool] = True
    has_order: ClassVar[bool] = False

    def build(self, specs: Mapping[Any, QuantizerSpec], calibration_bits: int, shapes: Shapes) -> None:
        for key in KEYS:
            if is_on(specs[key]):
                where = f"{self.path}.{key}", ACTIVATION, specs[key], self.context
                self.add_module(key, Quantizer(*where, calibration_bits=calibration_bits))

    @classmethod
    def quantizer_paths(cls, path: str, shapes: Shapes) -> dict[Any, tuple[str, str]]:
        return {key: (f"{path}.{key}", ACTIVATION) for key in KEYS}

    @classmethod
    def product(cls, path: str, key: Any) -> Optional[str]:
        return None

    @classmethod
    def obstacle(cls, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[str]:
        given = bound(NAMES, args, kwargs)
        operands = [given.get(name) for name in NAMES]
        reason = why_not_numbers(*operands)
        if reason is None and (kwargs.get("out") is not None or any(x.dim() == 0 for x in operands if x is not None)):
            return "it adds a number, or writes into a tensor"
        return reason

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = bound(NAMES, args, kwargs)
        a, b = (given.pop(name) for name in NAMES)
        left, right = self._rounded("left", a), self._rounded("right", b)
        if not getattr(function, "__name__", "").endswith("_"):  # as operators in place do
            return self._rounded("output", function(left, right, **given))
        y = self._rounded("output", (torch.add if self.function == "add" else torch.mul)(left, right, **given))
        return a.copy_(y)

    def _rounded(self, key: str, x: Tensor) -> Tensor:
        quantizer = self._modules.get(key)
        if not isinstance(quantizer, Quantizer):
            return x
        bits = quantizer.bits(None)
        return x if bits is None else quantizer.result(x, bits)

    def __repr__(self) -> str:
        return one_line_repr(self)
