"""A product of two activations and its quantizers.

y = Q(a) Q(b),   dL/da = Q(g) Q(b)^T,   dL/db = Q(a)^T Q(g),   g = dL/dy,   and Q(y) where a rule asks for it
"""

from collections.abc import Mapping
from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.kernels.codes import NotANumber
from fairseq.quantization.products.integer_encode import input_codes
from fairseq.quantization.products.integer_linear import has_codes
from fairseq.quantization.products.integer_matmul import IntegerMatMul
from fairseq.quantization.products.obstacles import multiplies_codes
from fairseq.quantization.products.product import ProductBits, ProductQuantizers
from fairseq.quantization.products.simulated import MatmulCall, SimulatedMatMul, notify_full_precision, product_dtype
from fairseq.quantization.quantizer import Quantized, Quantizer
from fairseq.quantization.spec import QuantizerSpec


class MatMulQuantizers(ProductQuantizers):
    """The quantizers of one product, and the product.

    Args:
        path: the product's path.
        paths: quantizer keys (left, right, grad_output, result) -> (quantizer path, role).
        specs: settings by the same keys.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        paths: Mapping[str, tuple[str, str]],
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        super().__init__(path, context)
        for key, (name, role) in paths.items():
            self.add_module(key, Quantizer(name, role, specs[key], context, calibration_bits=calibration_bits))
        left, right, grad = (self.quantizer(key) for key in ("left", "right", "grad_output"))
        self.integer = multiplies_codes(path, left, right, grad)

    def forward(self, a: Tensor, b: Tensor, num_bits: Optional[int]) -> Tensor:
        """`a @ b` at the bits in force for `num_bits`."""
        bits, state = self.layer_call(num_bits)
        if bits.full_precision:
            notify_full_precision(self.context.callbacks, self.path, a, b, a.numel() * b.shape[-1])
            y = torch.matmul(a, b)
        else:
            y = self._quantized(a, b, bits, state)
        if bits.result is not None:
            y = self.quantizer("result").result(y, bits.result)
        return y

    def _quantized(self, a: Tensor, b: Tensor, bits: ProductBits, state: Optional[CallState]) -> Tensor:
        left, right, dtype = self.quantizer("left"), self.quantizer("right"), product_dtype(a)
        # columns of b are what enters the dot products: quantize its transpose, usually also its layout in memory
        rows = b.mT
        if self.integer and bits.have_codes and a.shape[:-2] == b.shape[:-2] and has_codes(a, b):
            assert bits.left is not None and bits.right is not None
            try:
                codes = input_codes(left, a, bits.left, state), input_codes(right, rows, bits.right, state)
                return IntegerMatMul.apply(a, b, *codes, MatmulCall.of(self, bits, state), dtype)  # type: ignore[no-any-return, no-untyped-call]
            except NotANumber:
                pass  # the simulation hands it on
        call = MatmulCall.of(self, bits, state)
        a_quantized: Quantized = left(a, bits.left, state)
        b_quantized: Quantized = right(rows, bits.right, state)
        return SimulatedMatMul.apply(  # type: ignore[no-any-return, no-untyped-call]
            a_quantized.grad_target,
            b_quantized.grad_target.mT,
            a_quantized.value.to(dtype),
            b_quantized.value.to(dtype).mT,
            call,
            call.left.source(a),
            call.right.source(b),
        )
