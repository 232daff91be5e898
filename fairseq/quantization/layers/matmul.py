"""Products of two activations: `MatMul`, which has a path and can be replaced, and `QMatmul`, which quantizes.

    y = Q(a) Q(b),   dL/da = Q(g) Q(b)^T,   dL/db = Q(a)^T Q(g),   g = dL/dy,   and Q(y) where a rule asks for it

Attention owns two: QK^T with the operands `query` and `key`, PV with `probs` and `value` and the output `output`. The
quantizers' paths are those names behind the path of the module that owns the product, `<attention>.query`; gradients
are `<attention>.qk_matmul.grad_output` and `<attention>.pv_matmul.grad_output`.

`token` granularity means one range per vector that enters a dot product: rows of a, columns of b.

>>> product = QMatmul("query", "key")
>>> a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 3)
>>> torch.equal(product(a, b), a @ b), product(a, b, num_bits=4).shape
(True, torch.Size([2, 3, 3]))
"""

from collections.abc import Mapping
from typing import Optional

import torch
from torch import Tensor, nn

from fairseq.quantization.context import Step
from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.products.integer_encode import input_codes
from fairseq.quantization.products.integer_linear import LARGEST_BITS, has_codes, wants_integers
from fairseq.quantization.products.integer_matmul import IntegerMatMul
from fairseq.quantization.products.simulated import (
    Call,
    Factor,
    GradientRounding,
    SimulatedMatMul,
    product_dtype,
    tell_full_precision,
)
from fairseq.quantization.quantizer import ACTIVATION, GRADIENT, Quantized, Quantizer, brief
from fairseq.quantization.spec import QuantizerSpec


class MatMul(nn.Module):
    """`a @ b` for batches of matrices: (..., T, K), (..., K, S) -> (..., T, S).

    Args:
        left, right: names of the operands, for rules and plans.
        output: name of the result, if it may be quantized.
    """

    def __init__(self, left: str = "left", right: str = "right", output: Optional[str] = None):
        super().__init__()
        self.left, self.right, self.output = left, right, output

    def forward(self, a: Tensor, b: Tensor, num_bits: Optional[int] = None) -> Tensor:
        return torch.matmul(a, b)

    def paths(self, path: str) -> dict[str, tuple[str, str]]:
        """Which quantizers a product at `path` has: left, right, grad_output, output -> (their path, role)."""
        owner = path.rpartition(".")[0]
        prefix = f"{owner}." if owner else ""
        found = {
            "left": (prefix + self.left, ACTIVATION),
            "right": (prefix + self.right, ACTIVATION),
            "grad_output": (f"{path}.grad_output".lstrip("."), GRADIENT),
        }
        if self.output is not None:
            found["result"] = (prefix + self.output, ACTIVATION)
        return found


class MatMulQuantizers(nn.Module):
    """The quantizers of one product, and the product.

    Args:
        path: the product's path.
        paths: from `MatMul.paths`.
        specs: settings by the same keys.
        step: state shared by the model's quantizers.
        reference_bits: bits for which learned scales are kept where none are pinned.
        heads: of the attention that has the product, and features of each; `compute: auto` decides by them.
    """

    def __init__(
        self,
        path: str,
        paths: Mapping[str, tuple[str, str]],
        specs: Mapping[str, QuantizerSpec],
        step: Step,
        reference_bits: int = 8,
        heads: Optional[tuple[int, int]] = None,
    ):
        super().__init__()
        self.path, self.step = path, step
        for key, (name, role) in paths.items():
            self.add_module(key, Quantizer(name, role, specs[key], step, reference_bits=reference_bits))
        left, right, grad = (self.quantizer(key) for key in ("left", "right", "grad_output"))
        self.integer = wants_integers(path, left, right, grad, heads=heads)

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
        if not self.integer or a_bits is None or b_bits is None or max(a_bits, b_bits) > LARGEST_BITS:
            return False
        return a.shape[:-2] == b.shape[:-2] and has_codes(a, b)

    def __repr__(self) -> str:
        return brief(self)  # a model of a hundred layers is still read by people

    def quantizer(self, name: str) -> Quantizer:
        """One of left, right, grad_output, result."""
        return self._modules[name]  # type: ignore[return-value]


class QMatmul(MatMul):
    """MatMul that takes `num_bits`.

    Args:
        left, right, output: as MatMul.
        num_grad_bits: bits of the gradient quantizer; None leaves gradients in full precision.
        quantizers: made for this product by `quantize_model`; CPT's reference semantics if None.
    """

    def __init__(
        self,
        left: str = "left",
        right: str = "right",
        output: Optional[str] = None,
        *,
        num_grad_bits: Optional[int] = 8,
        quantizers: Optional[MatMulQuantizers] = None,
    ):
        super().__init__(left, right, output)
        if quantizers is None:
            paths = self.paths("")
            specs = {key: reference_spec(role, num_grad_bits) for key, (_, role) in paths.items()}
            quantizers = MatMulQuantizers("", paths, specs, Step())
        self.quantizers = quantizers

    def forward(self, a: Tensor, b: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """`a @ b`; `num_bits` are the bits of both, None for full precision unless the quantizers' bits are pinned."""
        return self.quantizers(a, b, num_bits)  # type: ignore[no-any-return]
