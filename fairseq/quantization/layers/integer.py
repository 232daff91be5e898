"""Products of a linear layer in integers: the forward product and both backward products as GEMMs on 8-bit codes.

    x = sx (cx - zx),   w[n] = sw[n] (cw[n] - zw[n])          codes, scales and zero points as `simulate` has them
    y = sx sw[n] sum_k (cx - zx)(cw - zw) + bias
    dL/dx = sum_n g[n] w[n] = sg' sum_n q'[n] (cw[n] - zw[n]),      sg' q' = codes of g[n] sw[n]
    dL/dw[n] = sum_m g[m] x[m] = sg'' sum_m q''[m] (cx[m] - zx[m]),   sg'' q'' = codes of g[m] sx[m]

A scale can be taken out of a sum only if it does not change along it. Weights have one scale per output channel, and
dL/dx sums over these; so the gradient is multiplied by them *before* it is rounded, and each product has its own
gradient codes. With one scale per tensor both are the codes that `simulate` makes.

Kept for backward: the codes of x (packed at 4 bits or fewer) and the weight's, which all calls of an update share.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.kernels import weights
from fairseq.quantization.kernels.codes import (
    Codes,
    Packed,
    column_sums,
    decode,
    encode,
    encode_twice,
    extremes,
    magnitudes,
    pack,
    signed,
)
from fairseq.quantization.kernels.linear import LEAST_SCALE, WeightCodes, backward_product, forward_product
from fairseq.quantization.kernels.products import scaled_product
from fairseq.quantization.layers.simulated import Call
from fairseq.quantization.noise import HashNoise
from fairseq.quantization.observers.minmax import MinMax
from fairseq.quantization.observers.tracked import Tracked
from fairseq.quantization.quantizer import WEIGHT, Quantizer
from fairseq.quantization.step import Shared

LARGEST_BITS = 8
LEAST_ROWS_KERNEL = 2**14  # of a weight: for smaller ones no C++ compiler is started


class Encoded:
    """An activation's codes, and their packed form, which is kept for backward. Layers on one input share both."""

    def __init__(self, codes: Codes):
        self.codes = codes
        self._packed: Optional[Packed] = None

    def packed(self) -> Packed:
        """The codes with several to the byte."""
        if self._packed is None:
            self._packed = pack(self.codes)
        return self._packed


class Kept:
    """All of an activation's codes but the data, which autograd keeps."""

    def __init__(self, encoded: Encoded):
        packed = encoded.packed()
        self.columns, self.codes = packed.columns, packed.codes._replace(data=packed.codes.data[:0].clone())

    def restore(self, data: Tensor) -> Codes:
        """The codes, given their packed data."""
        return Packed(self.codes._replace(data=data), self.columns).unpack()


@torch.no_grad()
def weight_codes(quantizer: Quantizer, weight: Tensor, num_bits: int) -> WeightCodes:
    """Codes of a weight (N, K)."""
    weight = weight.detach()
    if type(quantizer.observer) is MinMax and quantizer.format.name == "symmetric" and weight.is_contiguous():
        by_row = quantizer.granularity.kind != "tensor" and not quantizer.stochastic and not quantizer.step.listeners
        if by_row and weight.numel() >= LEAST_ROWS_KERNEL and weights.is_available(weight):
            return WeightCodes.of_rows(weights.encode_rows(weight, num_bits), num_bits)
        largest = magnitudes(weight) if quantizer.granularity.kind != "tensor" else magnitudes(weight).amax().view(1, 1)
        grid = quantizer.format.grid(-largest, largest, num_bits)
    else:
        grid = quantizer._grid(weight.float(), num_bits)[0]
    codes = encode(weight, quantizer.format, grid, num_bits, quantizer._noise(weight, None, 0))
    if quantizer.step.listeners:
        quantizer._tell(weight, decode(codes), num_bits)
    return WeightCodes(codes)


@torch.no_grad()
def input_codes(quantizer: Quantizer, x: Tensor, num_bits: int) -> Encoded:
    """Codes of `x` (..., K) as a matrix, or those that the quantizer before this one made of the same tensor."""
    step = quantizer.step
    tracked_evaluation = quantizer.observer.tracked and not (quantizer.training or step.calibrating)
    shares = quantizer.may_share and not tracked_evaluation  # in evaluation each has its own running range
    settings, last = ("codes", quantizer.spec, num_bits, quantizer.training), step.shared
    if shares and last is not None and last.x is x and last.version == x._version and last.settings == settings:
        if isinstance(quantizer.observer, Tracked):
            quantizer.observer.note(last.range)
        encoded: Encoded = last.result
        reused = True
    else:
        step.shared, reused = None, False
        wide = x.float()
        grid = quantizer._grid(wide, num_bits)[0]
        noise = quantizer._noise(x, None, 0)
        encoded = Encoded(encode(wide.reshape(-1, x.shape[-1]).contiguous(), quantizer.format, grid, num_bits, noise))
        if shares and step.in_call and not x.is_inference():
            step.shared = Shared(x, x._version, settings, quantizer.last_range, encoded)
        quantizer.last_range = None
    if step.listeners:
        quantizer._tell(x, decode(encoded.codes).view(x.shape).to(x.dtype), num_bits, reused)
    return encoded


def gradient_codes(
    grad: Tensor, call: Call, fold: Optional[Tensor], fold_rows: Optional[Tensor], wanted: tuple[bool, bool]
) -> tuple[Optional[Codes], Optional[Codes]]:
    """Codes of a gradient (M, N) for its product with w and for that with x, with the rounding that the call settled.

    Args:
        fold, fold_rows: factors (1, N) for the first and (M, 1) for the second; with neither both are the same codes.
        wanted: which of the two.
    """
    quantizer, num_bits = call.grad.quantizer, call.grad.num_bits
    assert quantizer is not None and num_bits is not None
    noise = None if call.grad.key is None or not quantizer.stochastic else HashNoise(call.grad.key, grad)
    fold, fold_rows = (fold if wanted[0] else None), (fold_rows if wanted[1] else None)
    if type(quantizer.observer) is MinMax:
        ends = extremes(grad, fold, fold_rows, quantizer.format.name == "symmetric")
        grids = [quantizer.format.grid(low, high, num_bits) for low, high in (ends[:2], ends[2:])]
    else:
        grids = [
            quantizer._grid(grad.float() if factor is None else grad.float() * factor, num_bits)[0]
            for factor in (fold, fold_rows)
        ]
    if fold is None and fold_rows is None:
        codes = encode(grad, quantizer.format, grids[0], num_bits, noise)
        return codes, codes
    if all(wanted):
        return encode_twice(grad, quantizer.format, (grids[0], grids[1]), num_bits, noise, fold, fold_rows)
    if wanted[0]:
        return encode(grad, quantizer.format, grids[0], num_bits, noise, fold), None
    return None, encode(grad, quantizer.format, grids[1], num_bits, noise, None, fold_rows)


class IntegerLinear(torch.autograd.Function):
    """`x @ weight^T + bias` on codes; gradients go to `x` and `weight`, which take no other part."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], encoded: Encoded, w_codes: WeightCodes, call: Call,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        ctx.call, ctx.x_shape, ctx.x_dtype, ctx.w_dtype = call, x.shape, x.dtype, weight.dtype
        needs_x, needs_w = ctx.needs_input_grad[:2]
        if needs_w:
            ctx.save_for_backward(encoded.packed().codes.data)
            ctx.kept = Kept(encoded)
        x_codes = encoded.codes
        ctx.w_codes = w_codes if needs_x else None
        if call.step.listeners:  # they are shown the codes: these are what is multiplied
            macs = x_codes.data.numel() * w_codes.data.shape[0]
            call.tell("forward", call.left.operand(x_codes.data), call.right.operand(w_codes.data), macs)
        y = forward_product(x_codes, w_codes, bias, dtype)
        return y.view(*x.shape[:-1], y.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: Call = ctx.call
        _, needs_w, needs_bias = ctx.needs_input_grad[:3]
        x_codes = ctx.kept.restore(ctx.saved_tensors[0]) if needs_w else None
        grad = grad.reshape(-1, grad.shape[-1])  # (M, N)
        if call.grad.num_bits is None or call.grad.num_bits > LARGEST_BITS:
            found = _float_backward(ctx, grad, x_codes)
        else:
            found = _integer_backward(ctx, grad.contiguous(), x_codes)
        grad_x, grad_w, grad_bias = found
        if grad_x is not None:
            grad_x = grad_x.view(ctx.x_shape).to(ctx.x_dtype)
        if grad_w is not None:
            grad_w = grad_w.to(ctx.w_dtype)
        return grad_x, grad_w, grad_bias if needs_bias else None, None, None, None, None


Gradients = tuple[Optional[Tensor], Optional[Tensor], Optional[Tensor]]


def _integer_backward(ctx: Any, grad: Tensor, x_codes: Optional[Codes]) -> Gradients:
    call: Call = ctx.call
    w: Optional[WeightCodes] = ctx.w_codes
    w_factor, w_largest = (None, None) if w is None else _factor(w.scale)
    x_factor, x_largest = (None, None) if x_codes is None else _factor(x_codes.scale)
    fold = None if w_factor is None else w_factor.t().contiguous()
    for_x, for_w = gradient_codes(grad, call, fold, x_factor, (w is not None, x_codes is not None))
    if call.step.listeners and call.grad.quantizer is not None and call.grad.num_bits is not None:
        codes, factor = (for_w, x_factor) if for_w is not None else (for_x, fold)
        if codes is not None:
            values = decode(codes) if factor is None else torch.where(factor > 0, decode(codes) / factor, 0.0)
            call.grad.quantizer._tell(grad, values, call.grad.num_bits)
    grad_x = grad_w = None
    if w is not None and w_largest is not None and for_x is not None:
        if call.step.listeners:
            macs = for_x.data.numel() * w.data.shape[1]
            call.tell("grad_input", call.grad.operand(for_x.data), call.right.operand(w.data), macs)
        if w.fused and for_x.shift is None and float(for_x.scale) > LEAST_SCALE:
            operand, scale = w.backward_operand(), for_x.scale * w_largest
            grad_x = scaled_product(for_x.data, int(for_x.zero_point), scale, operand, None, torch.float32)
        else:
            shift = None if w.shift is None else w.shift / w.scale
            grad_x = backward_product(for_x, False, w.data, w.zero_point, shift, w_largest)
    if x_codes is not None and x_largest is not None and for_w is not None:
        data, zero_point = signed(x_codes)
        if call.step.listeners:
            macs = for_w.data.numel() * data.shape[1]
            call.tell("grad_weight", call.grad.operand(for_w.data), call.left.operand(data), macs)
        shift = None if x_codes.shift is None else x_codes.shift / x_codes.scale
        sums = column_sums(for_w.data)
        grad_w = backward_product(for_w, True, data, zero_point, shift, x_largest, sums)
        same = x_factor is None
    else:
        same, sums = fold is None, None
    grad_bias = None
    if ctx.needs_input_grad[2]:
        grad_bias = _bias_gradient(grad, for_w or for_x, sums) if same else grad.float().sum(0)
    return grad_x, grad_w, grad_bias


def _factor(scale: Tensor) -> tuple[Optional[Tensor], Tensor]:
    """A scale as factors up to 1, None where there is but one, and the largest scale (1, 1)."""
    if scale.numel() == 1:
        return None, scale
    largest = scale.max().view(1, 1)
    return scale / largest, largest


def _bias_gradient(grad: Tensor, codes: Optional[Codes], sums: Optional[Tensor]) -> Tensor:
    """The sum over rows: of the rounded gradient where there are codes of it, as in `simulate`."""
    if codes is None:
        return grad.float().sum(0)
    if sums is None:
        sums = column_sums(codes.data)
    total = (sums - codes.zero_point * grad.shape[0]) * codes.scale
    return (total if codes.shift is None else total + codes.shift * grad.shape[0]).view(-1)


def _float_backward(ctx: Any, grad: Tensor, x_codes: Optional[Codes]) -> Gradients:
    """Gradients at more than 8 bits: floating-point products of what the codes stand for."""
    call: Call = ctx.call
    g = call.grad(grad).float()
    grad_x = grad_w = None
    if ctx.w_codes is not None:
        value = ctx.w_codes.values()
        call.tell("grad_input", call.grad.operand(g), call.right.operand(value), g.numel() * value.shape[1])
        grad_x = g @ value
    if x_codes is not None:
        value = decode(x_codes)
        call.tell("grad_weight", call.grad.operand(g), call.left.operand(value), g.numel() * value.shape[1])
        grad_w = g.t() @ value
    return grad_x, grad_w, g.sum(0)


def wants_integers(
    path: str,
    left: Quantizer,
    right: Quantizer,
    grad: Quantizer,
    shape: Optional[tuple[int, int]] = None,
    heads: Optional[tuple[int, int]] = None,
) -> bool:
    """Whether the rules ask for a product on codes, or leave it to us and it gains.

    Args:
        shape: of a weight.
        heads: how many attention has, and the features of each. Where neither is known `auto` simulates.

    Raises:
        ConfigError: integers are asked for, and other settings do not allow them.
    """
    wanted = {left.spec.compute, right.spec.compute}
    if "simulate" in wanted:
        return False
    reason = obstacle(left, right, grad)
    if "auto" in wanted:
        from fairseq.quantization.integer_costs import costs  # imported here: it builds layers itself

        if reason is not None:
            return False
        if shape is not None:
            return costs().prefers_integers(shape)
        return heads is not None and costs().prefers_integer_attention(*heads)
    if reason is not None:
        raise ConfigError(f"{path or 'layer'}: compute integer is not possible: {reason}; use simulate")
    return True


def has_codes(x: Tensor, y: Tensor) -> bool:
    """Empty and fp64 tensors are multiplied as they are; an exported program simulates, with the same codes."""
    if torch.compiler.is_exporting():
        return False
    return x.numel() > 0 and y.numel() > 0 and torch.float64 not in (x.dtype, y.dtype)


def obstacle(left: Quantizer, right: Quantizer, grad: Quantizer) -> Optional[str]:
    """Why the quantizers' settings do not allow a product on codes; None if they do."""
    for quantizer in (left, right):
        granularity = quantizer.granularity
        by_row = quantizer.role == WEIGHT and granularity.kind == "channel" and granularity.number == 0
        if granularity.kind not in ("tensor", "token") and not by_row:
            return f"{quantizer.path} has granularity {granularity}, whose scales change along the contraction"
        if quantizer.learned is not None:
            return f"{quantizer.path} learns its {quantizer.spec.learned}, for which the rounded values are needed"
        if quantizer.spec.ste != "plain":
            return f"{quantizer.path} has ste {quantizer.spec.ste}, for which the values outside the grid are needed"
    if grad.spec.quantize and grad.granularity.kind != "tensor":
        return f"{grad.path} has granularity {grad.granularity}; integer products need tensor"
    return None
