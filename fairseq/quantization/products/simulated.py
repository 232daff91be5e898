"""Products of fake-quantized operands in floating point, and their gradients.

    forward      y  = x_q w_q^T + bias
    backward     g  = quantize(dL/dy)          once; both products below use it
                 dL/dx = g w_q,   dL/dw = g^T x_q,   dL/dbias = sum of g over rows

The gradients belong to the values that were multiplied; where they go is decided by the operands' `grad_target`: to x
and w themselves under the plain straight-through estimator, to the output of a clipped or learned quantizer otherwise.
Only the quantized operands are kept for backward, and only those that a wanted gradient needs.

Shapes: M tokens, K input features, N output features; of two activations a (..., T, K), b (..., K, S).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import Callback, Operand, QuantizationContext
from fairseq.quantization.products.product import ProductBits, ProductQuantizers
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.rounding.noise import NoiseKey


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

    def operand(self, grad: Tensor) -> Operand:
        return Operand(self.quantizer, grad, self.num_bits)


class OperandQuantizer(NamedTuple):
    """One side of a product: its quantizer and the bits of this call."""

    quantizer: Optional[Quantizer]
    num_bits: Optional[int]

    def operand(self, tensor: Tensor) -> Operand:
        return Operand(self.quantizer, tensor, self.num_bits)


class MatmulCall(NamedTuple):
    """One product: its name, the quantizers and bits of both operands, the gradient's rounding."""

    path: str
    context: QuantizationContext
    left: OperandQuantizer
    right: OperandQuantizer
    grad: GradientRounding

    @classmethod
    def of(cls, quantizers: ProductQuantizers, bits: ProductBits, state: Optional[CallState]) -> "MatmulCall":
        """A call in which the operands of `quantizers` have `bits`; `state`: of the model's call around it."""
        own: dict[str, Any] = quantizers._modules  # looked up for every product
        left, right = quantizers.operands
        grad = GradientRounding.of(own["grad_output"], bits.grad, state)
        return cls(
            quantizers.path,
            quantizers.context,
            OperandQuantizer(own[left], bits.left),
            OperandQuantizer(own[right], bits.right),
            grad,
        )

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
    """`x_value @ w_value^T + bias`; gradients go to `x` and `weight`, which take no other part."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], x_value: Tensor, w_value: Tensor, call: MatmulCall
    ) -> Tensor:
        ctx.call, ctx.x_shape, ctx.x_dtype, ctx.w_dtype = call, x.shape, x.dtype, weight.dtype
        rows = x_value.reshape(-1, x_value.shape[-1])  # (..., K) -> (M, K)
        needs_x, needs_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(rows if needs_w else None, w_value if needs_x else None)
        call.notify(
            "forward", call.left.operand(rows), call.right.operand(w_value), macs=rows.numel() * w_value.shape[0]
        )
        with torch.autocast(x.device.type, enabled=False):
            y = F.linear(rows, w_value, None if bias is None else bias.to(rows.dtype))
        return y.view(*x.shape[:-1], w_value.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        rows, w_value = ctx.saved_tensors
        g, buffer = call.grad.rounded(grad.reshape(-1, grad.shape[-1]))  # (M, N)
        grad_x = grad_w = grad_bias = None
        if w_value is not None:
            call.notify("grad_input", call.grad.operand(g), call.right.operand(w_value), g.numel() * w_value.shape[1])
            grad_x = (g @ w_value).view(ctx.x_shape).to(ctx.x_dtype)
        if rows is not None:
            call.notify("grad_weight", call.grad.operand(g), call.left.operand(rows), g.numel() * rows.shape[1])
            grad_w = (g.t() @ rows).to(ctx.w_dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = g.sum(0)
        call.grad.release(buffer)
        return grad_x, grad_w, grad_bias, None, None, None


class SimulatedMatMul(torch.autograd.Function):
    """`a_value @ b_value` over equal leading axes; gradients go to `a` and `b`.

    Callbacks see b's transpose, which is what its quantizer saw.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, a_value: Tensor, b_value: Tensor, call: MatmulCall) -> Tensor:
        ctx.call, ctx.a_dtype, ctx.b_dtype = call, a.dtype, b.dtype
        needs_a, needs_b = ctx.needs_input_grad[:2]
        ctx.save_for_backward(a_value if needs_b else None, b_value if needs_a else None)
        call.notify(
            "forward",
            call.left.operand(a_value),
            call.right.operand(b_value.mT),
            macs=a_value.numel() * b_value.shape[-1],
        )
        with torch.autocast(a.device.type, enabled=False):
            return torch.matmul(a_value, b_value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        a_value, b_value = ctx.saved_tensors
        g, buffer = call.grad.rounded(grad)  # (..., T, S)
        grad_a = grad_b = None
        if b_value is not None:
            call.notify(
                "grad_input", call.grad.operand(g), call.right.operand(b_value.mT), g.numel() * b_value.shape[-2]
            )
            grad_a = torch.matmul(g, b_value.transpose(-1, -2)).to(ctx.a_dtype)
        if a_value is not None:
            call.notify("grad_weight", call.grad.operand(g), call.left.operand(a_value), g.numel() * a_value.shape[-1])
            grad_b = torch.matmul(a_value.transpose(-1, -2), g).to(ctx.b_dtype)
        call.grad.release(buffer)
        return grad_a, grad_b, None, None, None
