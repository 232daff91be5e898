"""`ProductQuantizers`: what the quantizers of a linear layer and those of a product of activations have in common.

The bits of a product's operands follow from `num_bits` alone, so they are looked up once for each call of a layer.
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import nn
from torch.overrides import _get_current_function_mode, _pop_mode_temporarily

from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.quantizer import Quantizer, one_line_repr
from fairseq.quantization.spec import MAX_INTEGER_BITS


class ProductBits(NamedTuple):
    """Bits to which the tensors of a product are rounded; None for one that is not.

    Attributes:
        left, right: the operands.
        grad: the gradient of the result.
        result: the result, if it has a quantizer.
        have_codes: both operands have few enough bits to be multiplied as integers.
        grad_has_codes: so has the gradient.
        full_precision: no operand is rounded.
        bias: the bias, if it has a quantizer.
        second: the second input, in a product of two inputs and a weight.
    """

    left: Optional[int]
    right: Optional[int]
    grad: Optional[int]
    result: Optional[int]
    have_codes: bool
    grad_has_codes: bool
    full_precision: bool
    bias: Optional[int] = None
    second: Optional[int] = None


class ProductQuantizers(nn.Module):
    """The quantizers of one product.

    Attributes:
        path: the product's path.
        context: state shared by the model's quantizers.
        operands: names of the left and the right operand's quantizer.
        result_name: that of the result's.
        second_operand: that of a third operand's, where there is one.
    """

    operands = ("left", "right")
    result_name = "result"
    second_operand: Optional[str] = None

    def __init__(self, path: str, context: QuantizationContext):
        super().__init__()
        self.path, self.context = path, context
        self._bits: dict[int, ProductBits] = {}

    def __call__(self, *args: Any) -> Any:
        """The product; modes for functions of torch that a forward around it has entered look away meanwhile."""
        if torch.compiler.is_compiling() or not getattr(_get_current_function_mode(), "steps_aside", False):
            return super().__call__(*args)
        with _pop_mode_temporarily():
            return self(*args)

    def quantizer(self, name: str) -> Quantizer:
        """One of them."""
        return self._modules[name]  # type: ignore[return-value]

    def layer_call(self, num_bits: Optional[int]) -> tuple[ProductBits, Optional[CallState]]:
        """Bits for a call that is about to run with `num_bits`, and the state of the model's call around it."""
        resolved, state = self.context.layer_call(num_bits, self.training)
        return self._bits.get(resolved) or self.bits_at(resolved), state

    def bits_at(self, num_bits: int) -> ProductBits:
        """Bits where the context resolved the call's to `num_bits`."""
        bits = self._bits.get(num_bits)
        if bits is None:
            left, right, grad = (self.quantizer(name).bits(num_bits) for name in (*self.operands, "grad_output"))
            result, bias = (
                self.quantizer(name).bits(num_bits) if name in self._modules else None
                for name in (self.result_name, "bias")
            )
            codes = [each is not None and each <= MAX_INTEGER_BITS for each in (left, right, grad)]
            second = None if self.second_operand is None else self.quantizer(self.second_operand).bits(num_bits)
            full = left is None and right is None and second is None
            bits = ProductBits(left, right, grad, result, codes[0] and codes[1], codes[2], full, bias, second)
            self._bits[num_bits] = bits
        return bits

    def forget_bits(self) -> None:
        """A quantizer's settings have changed: look its bits up again."""
        self._bits.clear()

    def __repr__(self) -> str:
        return one_line_repr(self)  # one line per layer
