"""`WeightedProduct`: what products with a weight have in common - their five quantizers, and the rounded weight, which
is kept for as long as neither it nor the bits change.

    y = Q(Q(x) * Q(w) + Q(bias))          * stands for the product: a matrix product, a convolution

`<path>.input`, `<path>.weight` and `<path>.grad_output` are always there; `<path>.bias` and `<path>.output` where a
rule names them. A quantizer sees the weight as a matrix (outputs, contraction): an output value is a sum over one row.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.products.product import ProductBits, ProductQuantizers
from fairseq.quantization.quantizer import ACTIVATION, GRADIENT, WEIGHT, Quantized, Quantizer
from fairseq.quantization.spec import BIAS, QuantizerSpec

PRODUCT_ROLES = {"weight": WEIGHT, "input": ACTIVATION, "grad_output": GRADIENT}
NAMED_ROLES = {"bias": BIAS, "output": ACTIVATION}  # quantized where a rule names them


class WeightedProduct(ProductQuantizers):
    """The quantizers of a product with a weight.

    Args:
        path: the product's path.
        shape: of the weight as a matrix.
        inputs: values in an input vector.
        specs: settings for "weight", "input" and "grad_output", and for "bias" and "output" where there are any.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    operands = ("input", "weight")
    result_name = "output"

    def __init__(
        self,
        path: str,
        shape: tuple[int, int],
        inputs: int,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        super().__init__(path, context)
        shapes: dict[str, dict[str, Any]] = {
            "weight": {"shape": shape},
            self.operands[0]: {"features": inputs},
            "grad_output": {"features": shape[0]},
            "bias": {"shape": (shape[0],)},
            "output": {"features": shape[0]},
        }
        own = {"weight": WEIGHT, self.operands[0]: ACTIVATION, "grad_output": GRADIENT}
        for name, role in {**own, **NAMED_ROLES}.items():
            if name in NAMED_ROLES and not (name in specs and specs[name].quantize and specs[name].bits is not None):
                continue  # without state and without cost
            self.add_module(name, Quantizer(
                f"{path}.{name}".lstrip("."), role, specs[name], context, calibration_bits=calibration_bits,
                **shapes[name],
            ))  # fmt: skip
        self._cached: Optional[CachedWeight] = None
        self.integers: Optional[QuantizedWeight] = None  # in place of the weight, see products/integer_weight.py

    def rounded_bias(self, bias: Optional[Tensor], bits: ProductBits) -> Optional[Tensor]:
        """The bias behind its quantizer, if it has one."""
        if bias is None or bits.bias is None:
            return bias
        return self.quantizer("bias")(bias, bits.bias).tensor()  # type: ignore[no-any-return]

    def rounded_result(self, y: Tensor, bits: ProductBits, state: Optional[CallState]) -> Tensor:
        """The result behind its quantizer, if it has one."""
        if bits.result is None:
            return y
        return self.quantizer("output").result(y, bits.result)

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as its quantizer sees it."""
        return weight

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """Undo `matrix`."""
        return matrix

    def _weight(self, weight: Tensor, num_bits: Optional[int], dtype: torch.dtype) -> Quantized:
        """The quantized weight, from the cache if neither it nor the bits have changed: its value as a matrix, and what
        gradients go to in the weight's own shape.
        """
        if self.integers is not None:
            return Quantized(weight, self.integers.values().to(dtype))
        quantizer = self.quantizer("weight")
        matrix = self.matrix(weight)
        if torch.compiler.is_exporting():  # a cache would keep the tracer's tensors
            return self._own_shape(quantizer(matrix, num_bits), matrix, weight)
        trains_grid = not quantizer.is_straight
        if num_bits is None or (trains_grid and torch.is_grad_enabled()):
            self._cached = None
            return self._own_shape(quantizer(matrix, num_bits), matrix, weight)
        if self.context.counts_itself and self.training and weight.requires_grad:
            # no scheduler tells where an update ends, and optimizers that write through `.data` change no version
            return Quantized(weight, quantizer.fake(matrix, num_bits).to(dtype))
        key = self._cache_key(weight, num_bits, dtype)
        cached = self._cached
        if cached is None or cached.key != key:
            self._cached = cached = None  # free the old copy before the new one is made
            self._cached = cached = CachedWeight(key, quantizer.fake(matrix, num_bits).to(dtype))
        return Quantized(weight, cached.value)

    def _own_shape(self, quantized: Quantized, matrix: Tensor, weight: Tensor) -> Quantized:
        target = quantized.grad_target
        return quantized._replace(grad_target=weight if target is matrix else self.from_matrix(target))

    def _cache_key(self, weight: Tensor, num_bits: int, dtype: torch.dtype) -> tuple[Any, ...]:
        # a version alone would miss writes through `.data`, so a weight in training is also tied to the update
        update = self.context.update if weight.requires_grad else None
        learned = self.quantizer("weight").learned
        grid = [] if learned is None else [parameter._version for parameter in learned.parameters()]
        inference = torch.is_inference_mode_enabled()
        return weight._version, update, weight.data_ptr(), num_bits, dtype, inference, grid

    def train(self, mode: bool = True) -> Any:
        if mode != self.training:
            self._cached = None  # between training and evaluation of one update lies the optimizer's step
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}  # copies and pickles of the model hold the weight only


class CachedWeight(NamedTuple):
    """A rounded weight, and what it depends on."""

    key: tuple[Any, ...]
    value: Any  # a tensor, or PreparedWeight
