"""Products of fake-quantized operands in floating point, and their gradients.

    forward      y  = x_q w_q^T + bias
    backward     g  = quantize(dL/dy)          once; both products below use it
                 dL/dx = g w_q,   dL/dw = g^T x_q,   dL/dbias = sum of g over rows

The gradients belong to the values that were multiplied; where they go is decided by the operands' `grad_target`: to x
and w themselves under the plain straight-through estimator, to the output of a clipped or learned quantizer otherwise.
Only the quantized operands are kept for backward, and only those that a wanted gradient needs.

A format whose blocks lie along the contraction shares scales between other values in each of the three products. Its
operands are rounded anew for each, from the numbers before rounding, so these are kept for backward instead:

    dL/dx = Q(g) Q(w^T)^T        blocks along the outputs
    dL/dw = Q(g^T) Q(x^T)^T      blocks along the tokens

and dL/dbias, which is no product, takes g as it is. Square blocks serve every product.

Shapes: M tokens, K input features, N output features; of two activations a (..., T, K), b (..., K, S).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native.first_order import first_order
from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import Callback, Operand, QuantizationContext
from fairseq.quantization.products.product import ProductBits, ProductQuantizers
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.rounding.noise import NoiseKey

# gradients are rounded, and what they are formed of is kept rounded: nothing that could be differentiated again
QUANTIZED = "a quantized product", "call the model in full precision (num_bits=0) where such gradients are needed"


STEPS = 2**34  # added to a layer's number for the noise of each further product in a call; beyond `quantizer.ACROSS`


class GradientRounding(NamedTuple):
    """How the gradient of one call is quantized: settled in forward, applied in backward."""

    quantizer: Optional[Quantizer]
    num_bits: Optional[int]
    key: Optional[NoiseKey]

    @classmethod
    def of(
        cls, quantizer: Optional[Quantizer], num_bits: Optional[int], state: Optional[CallState]
    ) -> "GradientRounding":
        """The rounding for a call in which a gradient is rounded to `num_bits`; None leaves it as it is."""
        if quantizer is None or num_bits is None or not torch.is_grad_enabled():
            return cls(quantizer, num_bits, None)
        return cls(quantizer, num_bits, quantizer.context.noise_key_in(state, quantizer.layer))

    @property
    def turns(self) -> bool:
        """Whether each product wants its own rounding."""
        return self.num_bits is not None and self.quantizer is not None and self.quantizer.turns

    def across(self, grad: Tensor) -> Tensor:
        """The gradient (..., M, N) as a factor of a product that sums over M."""
        if self.quantizer is None or self.num_bits is None:
            return grad
        return self.quantizer.fake_across(grad, self.num_bits, self.key)

    def rounded(self, grad: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        """The rounded gradient, and the scratch memory it may lie in, to be given back by `release`."""
        if self.quantizer is None or self.num_bits is None:
            return grad, None
        if grad.dtype != torch.float32:
            return self.quantizer.fake(grad, self.num_bits, None, self.key), None
        buffer = self.quantizer.context.scratch.take(grad.numel(), grad.device)
        out = buffer[: grad.numel()].view(grad.shape)
        return self.quantizer.fake(grad, self.num_bits, out, self.key), buffer

    def release(self, buffer: Optional[Tensor]) -> None:
        """The rounded gradient is read no more."""
        if self.quantizer is not None:
            self.quantizer.context.scratch.give_back(buffer)

    def operand(self, grad: Tensor, turned: bool = False) -> Operand:
        """The gradient as its quantizer saw it; `turned`: it was rounded by `across`."""
        return Operand(self.quantizer, grad.mT if turned else grad, self.num_bits)


class OperandQuantizer(NamedTuple):
    """One side of a product: its quantizer and the bits of this call; the noise's key, if it is rounded again."""

    quantizer: Optional[Quantizer]
    num_bits: Optional[int]
    key: Optional[NoiseKey] = None

    @classmethod
    def of(cls, quantizer: Quantizer, num_bits: Optional[int], state: Optional[CallState]) -> "OperandQuantizer":
        """A side that is rounded to `num_bits`; None leaves it as it is."""
        if num_bits is None or not quantizer.turns or not torch.is_grad_enabled():
            return cls(quantizer, num_bits)
        return cls(quantizer, num_bits, quantizer.context.noise_key_in(state, quantizer.layer))

    def source(self, x: Tensor) -> Optional[Tensor]:
        """What backward rounds anew: `x`, or None where it takes the values of forward."""
        return None if self.key is None else x.detach()

    def across(self, kept: Tensor, again: bool, dtype: torch.dtype) -> Tensor:
        """The factor (..., M, K) of a product that sums over M: `kept` itself, or rounded `again` for that."""
        if not again:
            return kept
        assert self.quantizer is not None and self.num_bits is not None
        return self.quantizer.fake_across(kept, self.num_bits, self.key).to(dtype)

    def operand(self, tensor: Tensor, turned: bool = False) -> Operand:
        """The factor as its quantizer saw it; `turned`: it was rounded by `across`."""
        return Operand(self.quantizer, tensor.mT if turned else tensor, self.num_bits)


class MatmulCall(NamedTuple):
    """One product: its name, the quantizers and bits of both operands, the gradient's rounding."""

    path: str
    context: QuantizationContext
    left: OperandQuantizer
    right: OperandQuantizer
    grad: GradientRounding

    @classmethod
    def of(
        cls, quantizers: ProductQuantizers, bits: ProductBits, state: Optional[CallState], step: int = 0
    ) -> "MatmulCall":
        """A call in which the operands of `quantizers` have `bits`; `state`: of the model's call around it, in which
        the product is carried out for the time number `step`, from 0.
        """
        own: dict[str, Any] = quantizers._modules  # looked up for every product
        left, right = quantizers.operands
        grad = GradientRounding.of(own["grad_output"], bits.grad, state)
        if step and grad.key is not None:
            grad = grad._replace(key=grad.key._replace(layer=grad.key.layer + step * STEPS))
        operands = OperandQuantizer.of(own[left], bits.left, state), OperandQuantizer.of(own[right], bits.right, state)
        return cls(quantizers.path, quantizers.context, *operands, grad)

    def notify(self, kind: str, left: Operand, right: Operand, macs: int) -> None:
        """Notify the callbacks that a product runs."""
        for callback in self.context.callbacks:
            callback.product(self.path, kind, left, right, macs)


def notify_full_precision(callbacks: Sequence[Callback], path: str, x: Tensor, w: Tensor, macs: int) -> None:
    """Notify of a product in full precision, and of the backward products that autograd will carry out for it."""
    kinds = ["forward"]
    if torch.is_grad_enabled():
        kinds += ["grad_input"] * x.requires_grad + ["grad_weight"] * w.requires_grad
    for callback in callbacks:
        for kind in kinds:
            callback.product(path, kind, Operand(None, x, None), Operand(None, w, None), macs)


def product_dtype(x: Tensor) -> torch.dtype:
    """The type in which autocast, where it is on, would multiply `x`."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype.is_floating_point and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype


class SimulatedLinear(torch.autograd.Function):
    """`x_value @ w_value^T + bias`; gradients go to `x` and `weight`, which take no other part.

    `x_source`, `w_source`: the numbers before rounding where backward rounds them anew, else None.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], x_value: Tensor, w_value: Tensor, call: MatmulCall,
        x_source: Optional[Tensor], w_source: Optional[Tensor],
    ) -> Tensor:  # fmt: skip
        ctx.call, ctx.x_shape, ctx.x_dtype, ctx.w_dtype = call, x.shape, x.dtype, weight.dtype
        ctx.again = x_source is not None, w_source is not None
        rows = x_value.reshape(-1, x_value.shape[-1])  # (..., K) -> (M, K)
        needs_x, needs_w = ctx.needs_input_grad[:2]
        x_kept = rows if x_source is None else x_source.reshape(rows.shape)
        w_kept = w_value if w_source is None else w_source
        ctx.save_for_backward(x_kept if needs_w else None, w_kept if needs_x else None)
        call.notify(
            "forward", call.left.operand(rows), call.right.operand(w_value), macs=rows.numel() * w_value.shape[0]
        )
        with torch.autocast(x.device.type, enabled=False):
            y = F.linear(rows, w_value, None if bias is None else bias.to(rows.dtype))
        return y.view(*x.shape[:-1], w_value.shape[0])

    @staticmethod
    @first_order(*QUANTIZED)
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        (x, w), (x_again, w_again), turns = ctx.saved_tensors, ctx.again, call.grad.turns
        rows = grad.reshape(-1, grad.shape[-1])  # (M, N)
        g, buffer = (rows, None) if turns and w is None else call.grad.rounded(rows)
        grad_x = grad_w = grad_bias = None
        if w is not None:
            w = call.right.across(w, w_again, g.dtype)
            call.notify("grad_input", call.grad.operand(g), call.right.operand(w, w_again), g.numel() * w.shape[1])
            grad_x = (g @ w).view(ctx.x_shape).to(ctx.x_dtype)
        if x is not None:
            g_across = call.grad.across(rows) if turns else g
            x = call.left.across(x, x_again, g.dtype)
            left, right = call.grad.operand(g_across, turns), call.left.operand(x, x_again)
            call.notify("grad_weight", left, right, g.numel() * x.shape[1])
            grad_w = (g_across.t() @ x).to(ctx.w_dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = (rows if turns else g).sum(0)
        call.grad.release(buffer)
        return grad_x, grad_w, grad_bias, None, None, None, None, None


class SimulatedMatMul(torch.autograd.Function):
    """`a_value @ b_value` over equal leading axes; gradients go to `a` and `b`.

    Callbacks see b's transpose, which is what its quantizer saw. `a_source`, `b_source`: as in `SimulatedLinear`.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, a_value: Tensor, b_value: Tensor, call: MatmulCall,
        a_source: Optional[Tensor], b_source: Optional[Tensor],
    ) -> Tensor:  # fmt: skip
        ctx.call, ctx.a_dtype, ctx.b_dtype = call, a.dtype, b.dtype
        ctx.again = a_source is not None, b_source is not None
        needs_a, needs_b = ctx.needs_input_grad[:2]
        a_kept, b_kept = a_value if a_source is None else a_source, b_value if b_source is None else b_source
        ctx.save_for_backward(a_kept if needs_b else None, b_kept if needs_a else None)
        call.notify(
            "forward",
            call.left.operand(a_value),
            call.right.operand(b_value.mT),
            macs=a_value.numel() * b_value.shape[-1],
        )
        with torch.autocast(a.device.type, enabled=False):
            return torch.matmul(a_value, b_value)

    @staticmethod
    @first_order(*QUANTIZED)
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        (a, b), (a_again, b_again), turns = ctx.saved_tensors, ctx.again, call.grad.turns
        g, buffer = (grad, None) if turns and b is None else call.grad.rounded(grad)  # (..., T, S)
        grad_a = grad_b = None
        if b is not None:
            rows = call.right.across(b.mT, b_again, g.dtype)  # (..., S, K): what its quantizer saw
            call.notify("grad_input", call.grad.operand(g), call.right.operand(rows, b_again), g.numel() * b.shape[-2])
            grad_a = torch.matmul(g, rows).to(ctx.a_dtype)
        if a is not None:
            g_across = call.grad.across(grad) if turns else g
            a = call.left.across(a, a_again, g.dtype)
            left, right = call.grad.operand(g_across, turns), call.left.operand(a, a_again)
            call.notify("grad_weight", left, right, g.numel() * a.shape[-1])
            grad_b = torch.matmul(a.mT, g_across).to(ctx.b_dtype)
        call.grad.release(buffer)
        return grad_a, grad_b, None, None, None, None, None
