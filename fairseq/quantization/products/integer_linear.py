"""Products of a linear layer in integers: the forward product and both backward products as GEMMs on 8-bit codes.

    x = sx (cx - zx),   w[n] = sw[n] (cw[n] - zw[n])          codes, scales and zero points as `simulate` has them
    y = sx sw[n] sum_k (cx - zx)(cw - zw) + bias
    dL/dx = sum_n g[n] w[n] = sg' sum_n q'[n] (cw[n] - zw[n]),      sg' q' = codes of g[n] sw[n]
    dL/dw[n] = sum_m g[m] x[m] = sg'' sum_m q''[m] (cx[m] - zx[m]),   sg'' q'' = codes of g[m] sx[m]

Shapes: M tokens, K input features, N output features.

A scale can be taken out of a sum only if it does not change along it. Weights have one scale per output channel, and
dL/dx sums over these; so the gradient is multiplied by them *before* it is rounded, and each product has its own
gradient codes. With one scale per tensor both are the codes that `simulate` makes.

Kept for backward: the codes of x (packed at 4 bits or fewer) and the weight's, which all calls of an update share.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.native import minmax
from fairseq.native.first_order import first_order
from fairseq.quantization.kernels.codes import NotANumber, QuantizedMatrix, decode, signed
from fairseq.quantization.kernels.linear import forward_product, input_gradient, weight_gradient
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.products.integer_encode import EncodedActivation, SavedActivation, gradient_codes
from fairseq.quantization.products.simulated import QUANTIZED, MatmulCall
from fairseq.quantization.spec import MAX_INTEGER_BITS


def product_of(
    encoded: EncodedActivation,
    w_codes: PreparedWeight,
    bias: Optional[Tensor],
    call: MatmulCall,
    shape: torch.Size,
    dtype: torch.dtype,
) -> Tensor:
    """`x @ weight^T + bias` for an x of `shape`, whose codes are `encoded`; no gradient."""
    x_codes = encoded.codes
    if call.context.callbacks:  # callbacks see the codes, which are what is multiplied
        macs = x_codes.data.numel() * w_codes.shape[0]
        call.notify("forward", call.left.operand(x_codes.data), call.right.operand(_shown(call, w_codes)), macs)
    rows = forward_product(x_codes, w_codes, bias, dtype)
    y, min_max = rows.view(*shape[:-1], rows.shape[1]), minmax.cached_minmax(rows)
    if min_max is not None:
        minmax.cache_minmax(y, *min_max)
    return y


class IntegerLinear(torch.autograd.Function):
    """`x @ weight^T + bias` on codes; gradients go to `x` and `weight`, which take no other part."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], encoded: EncodedActivation,
        w_codes: PreparedWeight, call: MatmulCall, dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        ctx.call, ctx.x_shape, ctx.x_dtype, ctx.w_dtype = call, x.shape, x.dtype, weight.dtype
        needs_x, needs_w = ctx.needs_input_grad[:2]
        if needs_w:
            ctx.save_for_backward(encoded.packed().codes.data)
            ctx.kept = SavedActivation(encoded)
        ctx.w_codes = w_codes if needs_x else None
        return product_of(encoded, w_codes, bias, call, x.shape, dtype)

    @staticmethod
    @first_order(*QUANTIZED)
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        _, needs_w, needs_bias = ctx.needs_input_grad[:3]
        x_codes = ctx.kept.restore(ctx.saved_tensors[0]) if needs_w else None
        grad = grad.reshape(-1, grad.shape[-1])  # (M, N)
        if call.grad.num_bits is None or call.grad.num_bits > MAX_INTEGER_BITS:
            found = _float_backward(ctx, grad, x_codes)
        else:
            try:
                found = _integer_backward(ctx, grad.contiguous(), x_codes)
            except NotANumber:
                found = _float_backward(ctx, grad, x_codes)
        grad_x, grad_w, grad_bias = found
        if grad_x is not None:
            grad_x = grad_x.view(ctx.x_shape).to(ctx.x_dtype)
        if grad_w is not None:
            grad_w = grad_w.to(ctx.w_dtype)
        return grad_x, grad_w, grad_bias if needs_bias else None, None, None, None, None


Gradients = tuple[Optional[Tensor], Optional[Tensor], Optional[Tensor]]


def _integer_backward(ctx: Any, grad: Tensor, x_codes: Optional[QuantizedMatrix]) -> Gradients:
    call: MatmulCall = ctx.call
    w: Optional[PreparedWeight] = ctx.w_codes
    w_scale, w_largest = (None, None) if w is None else _relative(w.scale)
    x_scale, x_largest = (None, None) if x_codes is None else _relative(x_codes.scale)
    column_scale = None if w_scale is None else w_scale.t().contiguous()
    for_x, for_w, sums = gradient_codes(grad, call, column_scale, x_scale, (w is not None, x_codes is not None))
    same = (x_scale if for_w is not None else column_scale) is None  # `sums` are of codes of the gradient itself
    if call.context.callbacks:
        _notify_gradient(call, grad, for_x, for_w, column_scale, x_scale)
    grad_x = grad_w = None
    if w is not None and w_largest is not None and for_x is not None:
        if call.context.callbacks:
            macs = for_x.data.numel() * w.shape[1]
            call.notify("grad_input", call.grad.operand(for_x.data), call.right.operand(_shown(call, w)), macs)
        grad_x = input_gradient(for_x, w, w_largest)
    if x_codes is not None and x_largest is not None and for_w is not None:
        right = signed(x_codes) if call.context.needs_tensors else None
        if call.context.callbacks:
            macs = for_w.data.numel() * x_codes.data.shape[1]
            shown = x_codes.data if right is None else right[0]
            call.notify("grad_weight", call.grad.operand(for_w.data), call.left.operand(shown), macs)
        grad_w = weight_gradient(for_w, x_codes, x_largest, sums, right)
    grad_bias = None
    if ctx.needs_input_grad[2]:
        grad_bias = _bias_gradient(grad, for_w or for_x, sums) if same else grad.float().sum(0)
    return grad_x, grad_w, grad_bias


def _notify_gradient(
    call: MatmulCall, grad: Tensor, for_x: Optional[QuantizedMatrix], for_w: Optional[QuantizedMatrix],
    column_scale: Optional[Tensor], x_scale: Optional[Tensor],
) -> None:  # fmt: skip
    codes, factor = (for_w, x_scale) if for_w is not None else (for_x, column_scale)
    if codes is None or call.grad.quantizer is None or call.grad.num_bits is None:
        return
    values = grad
    if call.context.needs_tensors:
        values = decode(codes) if factor is None else torch.where(factor > 0, decode(codes) / factor, 0.0)
    call.grad.quantizer._notify(grad, values, call.grad.num_bits)


def _shown(call: MatmulCall, w: PreparedWeight) -> Tensor:
    """The weight's codes for callbacks; for those that only count, a tensor of the same size."""
    return w.data if call.context.needs_tensors else torch.empty((), dtype=torch.int8).expand(w.shape)


def _relative(scale: Tensor) -> tuple[Optional[Tensor], Tensor]:
    """A scale as factors up to 1, None where there is but one, and the largest scale (1, 1)."""
    if scale.numel() == 1:
        return None, scale
    largest = scale.max().view(1, 1)
    return scale / largest, largest


def _bias_gradient(grad: Tensor, codes: Optional[QuantizedMatrix], sums: Tensor) -> Tensor:
    """The sum over rows: of the rounded gradient where there are codes of it, as in `simulate`."""
    if codes is None:
        return grad.float().sum(0)
    total = (sums - codes.zero_point * grad.shape[0]) * codes.scale
    return (total if codes.offset is None else total + codes.offset * grad.shape[0]).view(-1)


def _float_backward(ctx: Any, grad: Tensor, x_codes: Optional[QuantizedMatrix]) -> Gradients:
    """Gradients at more than 8 bits: floating-point products of what the codes stand for."""
    call: MatmulCall = ctx.call
    rounded, buffer = call.grad.rounded(grad)
    g = rounded.float()
    grad_x = grad_w = None
    if ctx.w_codes is not None:
        value = ctx.w_codes.values()
        call.notify("grad_input", call.grad.operand(g), call.right.operand(value), g.numel() * value.shape[1])
        grad_x = g @ value
    if x_codes is not None:
        value = decode(x_codes)
        call.notify("grad_weight", call.grad.operand(g), call.left.operand(value), g.numel() * value.shape[1])
        grad_w = g.t() @ value
    grad_bias = g.sum(0)
    call.grad.release(buffer)
    return grad_x, grad_w, grad_bias


def has_codes(x: Tensor, y: Tensor) -> bool:
    """Empty and fp64 tensors are multiplied as they are; an exported program simulates, with the same codes."""
    if torch.compiler.is_exporting():
        return False
    return x.numel() > 0 and y.numel() > 0 and torch.float64 not in (x.dtype, y.dtype)
