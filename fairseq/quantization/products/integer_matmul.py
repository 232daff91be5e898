"""Products of two activations in integers, as attention has them: QK^T and PV, and both gradients of each.

    y = a b^T                   a (..., T, K), b (..., S, K): both along the contraction, as their quantizers see them
    dL/da = Q(g) b,   dL/db = Q(g)^T a,   g = dL/dy (..., T, S)

Shapes: T rows of a and of y, S rows of b and columns of y, K the contraction; ... batch and heads.

The codes of a and b are all that is kept for backward, packed at 4 bits or fewer. All three run on 8-bit codes where
`batched_product` can be had (a CPU with a compiler) and the scales allow it: an operand with one scale per vector has
scales that change along the contraction of a gradient. Otherwise what the codes stand for is multiplied in floating
point.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.native.first_order import first_order
from fairseq.quantization.kernels.batched import batched_product, is_available
from fairseq.quantization.kernels.codes import NotANumber, QuantizedMatrix, decode
from fairseq.quantization.products.integer_encode import EncodedActivation, SavedActivation, gradient_codes
from fairseq.quantization.products.simulated import QUANTIZED, MatmulCall
from fairseq.quantization.spec import MAX_INTEGER_BITS


class IntegerMatMul(torch.autograd.Function):
    """`a @ b` over equal leading axes, from the codes of a and of b's transpose; gradients go to `a` and `b`."""

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        a_codes: EncodedActivation,
        b_codes: EncodedActivation,
        call: MatmulCall,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.call, ctx.dtypes, ctx.value_dtype = call, (a.dtype, b.dtype), dtype
        ctx.shapes = a.shape, b.mT.shape  # (..., T, K), (..., S, K)
        needs_a, needs_b = ctx.needs_input_grad[:2]
        wanted = [(a_codes, needs_b), (b_codes, needs_a)]
        ctx.save_for_backward(*(each.packed().codes.data if needed else None for each, needed in wanted))
        ctx.kept = [SavedActivation(each) if needed else None for each, needed in wanted]
        shape = (*a.shape[:-1], b.shape[-1])
        macs = a.numel() * b.shape[-1]
        if is_available(a.device, a.shape[-1]):
            call.notify("forward", call.left.operand(a_codes.codes.data), call.right.operand(b_codes.codes.data), macs)
            batches = (_batch(codes.codes, like) for codes, like in zip((a_codes, b_codes), ctx.shapes, strict=True))
            return batched_product(*batches).view(shape).to(dtype)
        a_value = decode(a_codes.codes).view(a.shape).to(dtype)
        b_value = decode(b_codes.codes).view(b.mT.shape).to(dtype)
        call.notify("forward", call.left.operand(a_value), call.right.operand(b_value), macs)
        with torch.autocast(a.device.type, enabled=False):
            return torch.matmul(a_value, b_value.mT)

    @staticmethod
    @first_order(*QUANTIZED)
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        gradient = _Gradient(ctx.call, grad, ctx.value_dtype)
        a_data, b_data = ctx.saved_tensors
        a_kept, b_kept = ctx.kept
        grad_a = grad_b = None
        if b_kept is not None:
            codes = b_kept.restore(b_data)
            grad_a = gradient.times(codes, ctx.shapes[1], "grad_input", transposed=False).to(ctx.dtypes[0])
        if a_kept is not None:
            codes = a_kept.restore(a_data)
            grad_b = gradient.times(codes, ctx.shapes[0], "grad_weight", transposed=True).to(ctx.dtypes[1]).mT
        gradient.release()
        return grad_a, grad_b, None, None, None, None


class _Gradient:
    """g = dL/dy (..., T, S), rounded once for both products, and its products."""

    def __init__(self, call: MatmulCall, grad: Tensor, dtype: torch.dtype):
        self.call, self.shape, self.dtype = call, grad.shape, dtype
        self.codes: Optional[QuantizedMatrix] = None
        self._values: Optional[Tensor] = None
        self._buffer: Optional[Tensor] = None
        quantizer, bits = call.grad.quantizer, call.grad.num_bits
        in_integers = bits is not None and bits <= MAX_INTEGER_BITS and is_available(grad.device, max(grad.shape[-2:]))
        if not in_integers:
            self._values, self._buffer = call.grad.rounded(grad)
            return
        assert quantizer is not None and bits is not None
        rows = grad.reshape(-1, grad.shape[-1]).contiguous()
        try:
            self.codes = gradient_codes(rows, call, None, None, (True, True)).for_x
        except NotANumber:
            self._values, self._buffer = call.grad.rounded(grad)
            return
        if call.context.callbacks:
            quantizer._notify(grad, self.values if call.context.needs_tensors else grad, bits)

    def release(self) -> None:
        """The gradient is read no more."""
        self.call.grad.release(self._buffer)

    @property
    def values(self) -> Tensor:
        """What the codes stand for."""
        if self._values is None:
            assert self.codes is not None
            self._values = decode(self.codes).view(self.shape).to(self.dtype)
        return self._values

    def times(self, codes: QuantizedMatrix, shape: torch.Size, kind: str, transposed: bool) -> Tensor:
        """g b (..., T, K) for codes of b (..., S, K), or with `transposed` g^T a (..., S, K) for a (..., T, K)."""
        call, macs = self.call, self.shape.numel() * shape[-1]
        factor = call.left if transposed else call.right
        if self.codes is not None and codes.scale.numel() == 1:
            call.notify(kind, call.grad.operand(self.codes.data), factor.operand(codes.data), macs)
            left = _batch(self.codes, self.shape)
            product = batched_product(left.transposed if transposed else left, _batch(codes, shape).transposed)
            return product.view(*shape[:-2], *product.shape[-2:])
        value = decode(codes).view(shape).to(self.dtype)
        g = self.values
        call.notify(kind, call.grad.operand(g), factor.operand(value), macs)
        return torch.matmul(g.mT if transposed else g, value)


def _batch(codes: QuantizedMatrix, shape: torch.Size) -> QuantizedMatrix:
    """Codes of a tensor (..., N, K), which are one matrix, as a batch of matrices."""
    return codes.batch((shape[:-2].numel(), shape[-2], shape[-1]))
