"""The product of a linear layer and its three quantizers: `<path>.input`, `<path>.weight`, `<path>.grad_output`.

    y = Q(x) Q(w)^T + bias,   dL/dx = Q(g) Q(w),   dL/dw = Q(g)^T Q(x),   g = dL/dy

simulated or on integer codes, as the specs say. Layers own the weight and bias and hand them in.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native.arena import persistent_allocations
from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.kernels.codes import NotANumber
from fairseq.quantization.kernels.linear import PreparedWeight
from fairseq.quantization.products.integer_encode import input_codes, weight_codes
from fairseq.quantization.products.integer_linear import IntegerLinear, has_codes, product_of
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.products.obstacles import multiplies_codes
from fairseq.quantization.products.product import ProductBits, ProductQuantizers
from fairseq.quantization.products.simulated import MatmulCall, SimulatedLinear, notify_full_precision, product_dtype
from fairseq.quantization.quantizer import ACTIVATION, GRADIENT, WEIGHT, Quantized, Quantizer
from fairseq.quantization.spec import QuantizerSpec

LINEAR_ROLES = {"weight": WEIGHT, "input": ACTIVATION, "grad_output": GRADIENT}


class LinearQuantizers(ProductQuantizers):
    """The three quantizers of a linear layer, and its product.

    Args:
        path: the layer's path.
        weight: the weight (out, in); only its shape is looked at.
        specs: settings for "weight", "input" and "grad_output".
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    operands = ("input", "weight")

    def __init__(
        self,
        path: str,
        weight: Tensor,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        super().__init__(path, context)
        rows, columns = weight.shape
        shapes: dict[str, dict[str, Any]] = {
            "weight": {"shape": (rows, columns)},
            "input": {"features": columns},
            "grad_output": {"features": rows},
        }
        for name, role in LINEAR_ROLES.items():
            quantizer = Quantizer(
                f"{path}.{name}".lstrip("."),
                role,
                specs[name],
                context,
                calibration_bits=calibration_bits,
                **shapes[name],
            )
            self.add_module(name, quantizer)
        self._cached: Optional[_CachedWeight] = None
        self.integers: Optional[QuantizedWeight] = None  # in place of the weight, see products/integer_weight.py
        left, right, grad = (self.quantizer(name) for name in ("input", "weight", "grad_output"))
        self.integer = multiplies_codes(path, left, right, grad)

    def forward(self, x: Tensor, weight: Tensor, bias: Optional[Tensor], num_bits: Optional[int]) -> Tensor:
        """The product of `x` (..., in) and `weight` (out, in) at the bits in force for `num_bits`."""
        bits, state = self.layer_call(num_bits)
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
        left = self.quantizer("input")(x if x.is_contiguous() else x.contiguous(), bits.left, state)
        right = self._weight(weight, bits.right, dtype)
        call = MatmulCall.of(self, bits, state)
        return SimulatedLinear.apply(  # type: ignore[no-any-return, no-untyped-call]
            left.grad_target, right.grad_target, bias, left.value.to(dtype), right.value.to(dtype), call,
            call.left.source(x), call.right.source(weight) if self.integers is None else None,
        )  # fmt: skip

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
                self._cached = cached = _CachedWeight(key, weight_codes(quantizer, weight, num_bits))
        codes: PreparedWeight = cached.value
        return codes

    def _weight(self, weight: Tensor, num_bits: Optional[int], dtype: torch.dtype) -> Quantized:
        """The quantized weight, from the cache if neither it nor the bits have changed."""
        if self.integers is not None:
            return Quantized(weight, self.integers.values().to(dtype))
        quantizer = self.quantizer("weight")
        if torch.compiler.is_exporting():  # a cache would keep the tracer's tensors
            return quantizer(weight, num_bits)  # type: ignore[no-any-return]
        trains_grid = quantizer.learned is not None or quantizer.spec.ste != "plain"
        if num_bits is None or (trains_grid and torch.is_grad_enabled()):
            self._cached = None
            return quantizer(weight, num_bits)  # type: ignore[no-any-return]
        if self.context.counts_itself and self.training and weight.requires_grad:
            # no scheduler tells where an update ends, and optimizers that write through `.data` change no version
            return Quantized(weight, quantizer.fake(weight, num_bits).to(dtype))
        key = self._cache_key(weight, num_bits, dtype)
        cached = self._cached
        if cached is None or cached.key != key:
            self._cached = cached = None  # free the old copy before the new one is made
            self._cached = cached = _CachedWeight(key, quantizer.fake(weight, num_bits).to(dtype))
        return Quantized(weight, cached.value)

    def _cache_key(self, weight: Tensor, num_bits: int, dtype: torch.dtype) -> tuple[Any, ...]:
        # a version alone would miss writes through `.data`, so a weight in training is also tied to the update
        update = self.context.update if weight.requires_grad else None
        learned = self.quantizer("weight").learned
        grid = [] if learned is None else [parameter._version for parameter in learned.parameters()]
        inference = torch.is_inference_mode_enabled()
        return weight._version, update, weight.data_ptr(), num_bits, dtype, inference, grid

    def train(self, mode: bool = True) -> "LinearQuantizers":
        if mode != self.training:
            self._cached = None  # between training and evaluation of one update lies the optimizer's step
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}  # copies and pickles of the model hold the weight only


class _CachedWeight(NamedTuple):
    key: tuple[Any, ...]
    value: Any  # a tensor, or PreparedWeight
