"""The product of a linear layer and its quantizers: `<path>.input`, `<path>.weight`, `<path>.grad_output`, and where
rules name them `<path>.bias` and `<path>.output`.

    y = Q(x) Q(w)^T + bias,   dL/dx = Q(g) Q(w),   dL/dw = Q(g)^T Q(x),   g = dL/dy

simulated or on integer codes, as the specs say. Layers own the weight and bias and hand them in.
"""

from collections.abc import Callable, Mapping
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native.arena import persistent_allocations
from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.kernels.codes import NotANumber
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.products.integer_encode import input_codes, weight_codes
from fairseq.quantization.products.integer_linear import IntegerLinear, has_codes, product_of
from fairseq.quantization.products.obstacles import multiplies_codes
from fairseq.quantization.products.product import ProductBits
from fairseq.quantization.products.simulated import MatmulCall, SimulatedLinear, notify_full_precision, product_dtype
from fairseq.quantization.products.weighted import PRODUCT_ROLES, CachedWeight, WeightedProduct
from fairseq.quantization.quantizer import Quantized
from fairseq.quantization.spec import QuantizerSpec

LINEAR_ROLES = PRODUCT_ROLES  # its name until the next release


class LinearQuantizers(WeightedProduct):
    """The quantizers of a linear layer, and its product.

    Args:
        path: the layer's path.
        weight: the weight (out, in); only its shape is looked at.
        specs: settings for "weight", "input" and "grad_output", and for "bias" and "output" where there are any.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        weight: Tensor,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        rows, columns = weight.shape
        super().__init__(path, (rows, columns), columns, specs, context, calibration_bits)
        left, right, grad = (self.quantizer(name) for name in ("input", "weight", "grad_output"))
        self.integer = multiplies_codes(path, left, right, grad)

    def forward(self, x: Tensor, weight: Tensor, bias: Optional[Tensor], num_bits: Optional[int]) -> Tensor:
        """The product of `x` (..., in) and `weight` (out, in) at the bits in force for `num_bits`."""
        bits, state = self.layer_call(num_bits)
        y = self._product(x, weight, self.rounded_bias(bias, bits), bits, state)
        return y if bits.result is None else self.rounded_result(y, bits, state)

    def _product(
        self, x: Tensor, weight: Tensor, bias: Optional[Tensor], bits: ProductBits, state: Optional[CallState]
    ) -> Tensor:
        if self.integers is not None:
            self.integers.check(self.path, bits.right, self.training)
        if bits.full_precision:
            notify_full_precision(self.context.callbacks, self.path, x, weight, x.numel() * weight.shape[0])
            return F.linear(x, weight, bias)
        dtype = product_dtype(x)
        if self.integer and bits.have_codes and has_codes(x, weight):
            try:
                return self._integer_product(x, weight, bias, bits, state, dtype)
            except NotANumber:
                pass  # the simulation hands it on
        return self._simulated(x, weight, bias, self._weight(weight, bits.right, dtype), bits, state, dtype)

    def _simulated(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        right: Quantized,
        bits: ProductBits,
        state: Optional[CallState],
        dtype: torch.dtype,
        step: int = 0,
    ) -> Tensor:
        left = self.quantizer("input")(x if x.is_contiguous() else x.contiguous(), bits.left, state)
        call = MatmulCall.of(self, bits, state, step)
        return SimulatedLinear.apply(  # type: ignore[no-any-return, no-untyped-call]
            left.grad_target, right.grad_target, bias, left.value.to(dtype), right.value.to(dtype), call,
            call.left.source(x), call.right.source(weight) if self.integers is None else None,
        )  # fmt: skip

    def steps(self, weight: Tensor, bias: Optional[Tensor], num_bits: Optional[int]) -> Callable[[Tensor, int], Tensor]:
        """The product for a sequence of inputs of one call, simulated: a function of an input and the number of its
        step, which the noise of stochastic rounding depends on. The weight is rounded once.
        """
        bits, state = self.layer_call(num_bits)
        bias = self.rounded_bias(bias, bits)
        rounded: dict[torch.dtype, Quantized] = {}

        def product(x: Tensor, step: int) -> Tensor:
            if bits.full_precision:
                notify_full_precision(self.context.callbacks, self.path, x, weight, x.numel() * weight.shape[0])
                return self.rounded_result(F.linear(x, weight, bias), bits, state)
            dtype = product_dtype(x)
            if dtype not in rounded:
                rounded[dtype] = self._weight(weight, bits.right, dtype)
            return self.rounded_result(
                self._simulated(x, weight, bias, rounded[dtype], bits, state, dtype, step), bits, state
            )

        return product

    def _integer_product(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        bits: ProductBits,
        state: Optional[CallState],
        dtype: torch.dtype,
    ) -> Tensor:
        assert bits.left is not None and bits.right is not None
        x_codes = input_codes(self.quantizer("input"), x, bits.left, state)
        w_codes = self._weight_codes(weight, bits.right)
        call = MatmulCall.of(self, bits, state)
        if not torch.is_grad_enabled():
            return product_of(x_codes, w_codes, bias, call, x.shape, dtype)
        return IntegerLinear.apply(x, weight, bias, x_codes, w_codes, call, dtype)  # type: ignore[no-any-return, no-untyped-call]

    def _weight_codes(self, weight: Tensor, num_bits: int) -> PreparedWeight:
        """The weight's codes, from the cache if neither it nor the bits have changed."""
        if self.integers is not None:
            return self.integers.product()
        quantizer = self.quantizer("weight")
        if self.context.counts_itself and self.training and weight.requires_grad:
            return weight_codes(quantizer, weight, num_bits)  # see _weight
        key = self._cache_key(weight, num_bits, torch.int8)
        cached = self._cached  # read once: threads that run the model at other bits replace it
        if cached is None or cached.key != key:
            self._cached = cached = None  # free the old copy before the new one is made
            with persistent_allocations():
                self._cached = cached = CachedWeight(key, weight_codes(quantizer, weight, num_bits))
        codes: PreparedWeight = cached.value
        return codes
