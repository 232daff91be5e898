"""The product of a bilinear layer and its quantizers: `<path>.left`, `<path>.right`, `<path>.weight`,
`<path>.grad_output`, and where rules name them `<path>.bias` and `<path>.output`. Simulated.

    y_o = Q(a) Q(W_o) Q(b)^T + bias_o       dL/da = sum_o Q(g)_o Q(b) Q(W_o)^T       dL/db = sum_o Q(g)_o Q(a) Q(W_o)
    dL/dW_o = sum over rows of Q(g)_o Q(a)^T Q(b)                                    g = dL/dy

A weight is rounded as a matrix (O, I * J): a row is all that one output multiplies. A format whose blocks lie along the
contraction rounds it anew for dL/da, as (I, O * J), and for dL/db, as (J, O * I), and all three factors of dL/dW along
the rows.

Shapes: M rows, O outputs, I features of the left input a, J of the right one b.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native.first_order import first_order
from fairseq.quantization.context import Operand, QuantizationContext
from fairseq.quantization.products.simulated import QUANTIZED, MatmulCall, OperandQuantizer, notify_full_precision
from fairseq.quantization.products.weighted import WeightedProduct
from fairseq.quantization.quantizer import ACTIVATION, Quantizer
from fairseq.quantization.spec import QuantizerSpec


class BilinearQuantizers(WeightedProduct):
    """The quantizers of a bilinear layer, and its product.

    Args:
        path: the layer's path.
        weight: (O, I, J); only its shape is looked at.
        specs: settings for "left", "right", "weight" and "grad_output", and for "bias" and "output" where there are
            any.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    operands = ("left", "weight")
    second_operand = "right"

    def __init__(
        self,
        path: str,
        weight: Tensor,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        outputs, left, right = self.shape = tuple(weight.shape)
        super().__init__(path, (outputs, left * right), left, specs, context, calibration_bits)
        name = f"{path}.right".lstrip(".")
        self.right = Quantizer(name, ACTIVATION, specs["right"], context, right, calibration_bits=calibration_bits)

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.flatten(1)

    def from_matrix(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(self.shape)

    def forward(self, a: Tensor, b: Tensor, weight: Tensor, bias: Optional[Tensor], num_bits: Optional[int]) -> Tensor:
        """The product of `a` (..., I) and `b` (..., J) at the bits in force for `num_bits` -> (..., O)."""
        bits, state = self.layer_call(num_bits)
        bias = self.rounded_bias(bias, bits)
        if bits.full_precision:
            self._notify_full_precision(a, b, weight)
            y = F.bilinear(a, b, weight, bias)
        else:
            # under autocast torch multiplies in the widest of the types
            dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), weight.dtype)
            left, right = self.quantizer("left")(a, bits.left, state), self.right(b, bits.second, state)
            product = self._weight(weight, bits.right, dtype)
            call = MatmulCall.of(self, bits, state)
            second = OperandQuantizer.of(self.right, bits.second, state)
            factors = Factors(left.value.to(dtype), right.value.to(dtype), product.value.to(dtype))
            sources = Factors(call.left.source(a), second.source(b), call.right.source(weight))
            y = SimulatedBilinear.apply(  # type: ignore[no-untyped-call]
                left.grad_target, right.grad_target, product.grad_target, bias, factors, sources, call, second
            )
        return self.rounded_result(y, bits, state)

    def _notify_full_precision(self, a: Tensor, b: Tensor, weight: Tensor) -> None:
        macs = a.numel() // a.shape[-1] * weight.numel()
        notify_full_precision(self.context.callbacks, self.path, a, weight, macs)
        if torch.is_grad_enabled() and b.requires_grad:
            for callback in self.context.callbacks:
                callback.product(self.path, "grad_input", Operand(None, b, None), Operand(None, weight, None), macs)


class Factors(NamedTuple):
    """The tensors of the product, rounded (the weight as a matrix), or before rounding where backward rounds anew."""

    left: Any
    right: Any
    weight: Any


class SimulatedBilinear(torch.autograd.Function):
    """The product of `factors`; gradients go to `a`, `b` and `weight`, which take no other part."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, weight: Tensor, bias: Optional[Tensor], factors: Factors, sources: Factors,
        call: MatmulCall, second: OperandQuantizer,
    ) -> Tensor:  # fmt: skip
        ctx.call, ctx.second, ctx.shape = call, second, weight.shape
        ctx.like = tuple((x.shape, x.dtype) for x in (a, b, weight))
        x, z = (part.reshape(-1, part.shape[-1]) for part in factors[:2])  # (M, I), (M, J)
        before = [None if part is None else part.reshape(-1, part.shape[-1]) for part in sources[:2]]
        ctx.save_for_backward(x, z, factors.weight, *before, sources.weight)
        call.notify("forward", call.left.operand(x), call.right.operand(factors.weight), x.shape[0] * weight.numel())
        with torch.autocast(a.device.type, enabled=False):
            y = F.bilinear(x, z, factors.weight.view(weight.shape), None if bias is None else bias.to(x.dtype))
        return y.view(*a.shape[:-1], weight.shape[0])

    @staticmethod
    @first_order(*QUANTIZED)
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        second: OperandQuantizer = ctx.second
        x, z, w, x_source, z_source, w_source = ctx.saved_tensors
        needs_a, needs_b, needs_w, needs_bias = ctx.needs_input_grad[:4]
        rows, turns = grad.reshape(-1, grad.shape[-1]), call.grad.turns  # (M, O)
        macs = rows.shape[0] * w.numel()
        g, buffer = (rows, None) if turns and not (needs_a or needs_b) else call.grad.rounded(rows)
        grads: list[Optional[Tensor]] = [None, None, None]
        for place, (needed, other, sum_of) in enumerate(((needs_a, z, "mo,oij,mj->mi"), (needs_b, x, "mo,oij,mi->mj"))):
            if needed:
                w_value, seen = w.view(ctx.shape), w
                if w_source is not None:
                    axes = (place + 1, 0, 2 - place)  # (I, O, J) for dL/da, (J, O, I) for dL/db
                    turned = w_source.permute(axes)
                    seen = call.right.across(turned.flatten(1).mT, True, g.dtype).mT
                    w_value = seen.view(turned.shape).permute([axes.index(axis) for axis in range(3)])
                call.notify("grad_input", call.grad.operand(g), call.right.operand(seen)._replace(factor=w_value), macs)
                grads[place] = torch.einsum(sum_of, g, w_value, other)
        if needs_w:
            g_across = call.grad.across(rows) if turns else g
            x = x if x_source is None else call.left.across(x_source, True, g.dtype)
            z = z if z_source is None else second.across(z_source, True, g.dtype)
            left, right = call.grad.operand(g_across, turns), call.left.operand(x, x_source is not None)
            call.notify("grad_weight", left, right, macs)
            grads[2] = torch.einsum("mo,mi,mj->oij", g_across, x, z)
        grad_bias = (rows if turns else g).sum(0) if needs_bias else None
        call.grad.release(buffer)
        found = [
            None if x is None else x.reshape(shape).to(kind) for x, (shape, kind) in zip(grads, ctx.like, strict=True)
        ]
        return found[0], found[1], found[2], grad_bias, None, None, None, None
