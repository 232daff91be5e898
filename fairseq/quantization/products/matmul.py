"""A product of two activations and its quantizers.

y = Q(a) Q(b),   dL/da = Q(g) Q(b)^T,   dL/db = Q(a)^T Q(g),   g = dL/dy,   and Q(y) where a rule asks for it
"""

from collections.abc import Mapping
from typing import Optional

import torch
from torch import Tensor, nn

from fairseq.quantization.context import Step
from fairseq.quantization.products.integer_encode import input_codes
from fairseq.quantization.products.integer_linear import has_codes
from fairseq.quantization.products.integer_matmul import IntegerMatMul
from fairseq.quantization.products.obstacles import multiplies_codes
from fairseq.quantization.products.simulated import (
    Call,
    Factor,
    GradientRounding,
    SimulatedMatMul,
    product_dtype,
    tell_full_precision,
)
from fairseq.quantization.quantizer import Quantized, Quantizer, brief
from fairseq.quantization.spec import MAX_INTEGER_BITS, QuantizerSpec


class MatMulQuantizers(nn.Module):
    """The quantizers of one product, and the product.

    Args:
        path: the product's path.
        paths: quantizer keys (left, right, grad_output, result) -> (quantizer path, role).
        specs: settings by the same keys.
        step: state shared by the model's quantizers.
        reference_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        paths: Mapping[str, tuple[str, str]],
        specs: Mapping[str, QuantizerSpec],
        step: Step,
        reference_bits: int = 8,
    ):
        super().__init__()
        self.path, self.step = path, step
        for key, (name, role) in paths.items():
            self.add_module(key, Quantizer(name, role, specs[key], step, reference_bits=reference_bits))
        left, right, grad = (self.quantizer(key) for key in ("left", "right", "grad_output"))
        self.integer = multiplies_codes(path, left, right, grad)

    def forward(self, a: Tensor, b: Tensor, num_bits: Optional[int]) -> Tensor:
        """`a @ b` at the bits in force for `num_bits`."""
        num_bits = self.step.layer_call(num_bits, self.training)
        left, right = self.quantizer("left"), self.quantizer("right")
        a_bits, b_bits = left.bits(num_bits), right.bits(num_bits)
        if a_bits is None and b_bits is None:
            tell_full_precision(self.step.listeners, self.path, a, b, a.numel() * b.shape[-1])
            y = torch.matmul(a, b)
        elif self._in_integers(a, b, a_bits, b_bits):
            assert a_bits is not None and b_bits is not None
            grad = GradientRounding.of(self.quantizer("grad_output"), num_bits, self.step)
            call = Call(self.path, self.step, Factor(left, a_bits), Factor(right, b_bits), grad)
            a_codes, b_codes = input_codes(left, a, a_bits), input_codes(right, b.mT, b_bits)
            y = IntegerMatMul.apply(a, b, a_codes, b_codes, call, product_dtype(a))  # type: ignore[no-untyped-call]
        else:
            dtype = product_dtype(a)
            a_quantized: Quantized = left(a, a_bits)
            # columns of b are what enters the dot products: quantize its transpose, usually also its layout in memory
            b_quantized: Quantized = right(b.transpose(-1, -2), b_bits)
            grad = GradientRounding.of(self.quantizer("grad_output"), num_bits, self.step)
            call = Call(self.path, self.step, Factor(left, a_bits), Factor(right, b_bits), grad)
            y = SimulatedMatMul.apply(  # type: ignore[no-untyped-call]
                a_quantized.route,
                b_quantized.route.transpose(-1, -2),
                a_quantized.value.to(dtype),
                b_quantized.value.to(dtype).transpose(-1, -2),
                call,
            )
        if "result" in self._modules:
            result = self.quantizer("result")
            y = result(y, result.bits(num_bits)).tensor()
        return y

    def _in_integers(self, a: Tensor, b: Tensor, a_bits: Optional[int], b_bits: Optional[int]) -> bool:
        if not self.integer or a_bits is None or b_bits is None or max(a_bits, b_bits) > MAX_INTEGER_BITS:
            return False
        return a.shape[:-2] == b.shape[:-2] and has_codes(a, b)

    def __repr__(self) -> str:
        return brief(self)  # a model of a hundred layers is still read by people

    def quantizer(self, name: str) -> Quantizer:
        """One of left, right, grad_output, result."""
        return self._modules[name]  # type: ignore[return-value]
