"""`F.linear` as a function: a linear product with a weight that the caller hands in.

Quantizers are those of a linear layer: `<path>.input`, `<path>.weight`, `<path>.grad_output`, and where rules name them
`<path>.bias` and `<path>.output`.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Optional

import torch
from torch import nn

from fairseq.quantization.functions.base import (
    FunctionProduct,
    QuantizedFunction,
    Shapes,
    bound,
    register_function,
    why_not_numbers,
)
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.weighted import NAMED_ROLES, PRODUCT_ROLES
from fairseq.quantization.spec import QuantizerSpec

NAMES = ("input", "weight", "bias")


@register_function("linear")
class QuantizedLinearFunction(QuantizedFunction):
    """One linear product."""

    names: ClassVar[tuple[str, ...]] = NAMES

    def build(self, specs: Mapping[Any, QuantizerSpec], calibration_bits: int, shapes: Shapes) -> None:
        weight = torch.empty(shapes[1], device="meta")
        self.quantizers = LinearQuantizers(self.path, weight, specs, self.context, calibration_bits)

    @classmethod
    def quantizer_paths(cls, path: str, shapes: Shapes) -> dict[Any, tuple[str, str]]:
        roles = {**PRODUCT_ROLES, **NAMED_ROLES}
        if len(shapes) < 3:  # no bias
            del roles["bias"]
        return {key: (f"{path}.{key}", role) for key, role in roles.items()}

    @classmethod
    def products(cls, path: str) -> list[FunctionProduct]:
        return [FunctionProduct(path, f"{path}.input", f"{path}.weight", f"{path}.grad_output")]

    @classmethod
    def obstacle(cls, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[str]:
        given = bound(NAMES, args, kwargs)
        weight = given.get("weight")
        reason = why_not_numbers(given.get("input"), weight)
        return reason or (None if weight is not None and weight.dim() == 2 else "its weight is a vector")

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = bound(NAMES, args, kwargs)
        weight = given["weight"]
        if not isinstance(weight, nn.Parameter):  # another tensor in each call, perhaps in the memory of the last one
            self.quantizers._cached = None
        return self.quantizers(given["input"], weight, given.get("bias"), None)
