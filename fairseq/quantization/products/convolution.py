"""The product of a convolution and its quantizers: `<path>.input`, `<path>.weight`, `<path>.grad_output`, and where
rules name them `<path>.bias` and `<path>.output`. Simulated: rounded values are multiplied in floating point.

    y = conv(Q(x), Q(w)) + bias,   dL/dx = conv^T(Q(g), Q(w)),   dL/dw = corr(Q(g), Q(x)),   g = dL/dy

A weight is rounded as a matrix: a row is all that one output channel multiplies, its input channels times the kernel.
A format whose blocks lie along the contraction rounds it anew for dL/dx, as the matrix whose row is all that an input
channel meets. Inputs and gradients: `images.py`.

Shapes: O output and I input channels, G groups, K the axes of the kernel, S those of space.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.products.images import images, round_images, seen, unseen, vectors
from fairseq.quantization.products.simulated import MatmulCall, notify_full_precision, product_dtype
from fairseq.quantization.products.weight_layout import WeightLayout, from_rows_of_second, rows_of_first, rows_of_second
from fairseq.quantization.products.weighted import WeightedProduct
from fairseq.quantization.spec import QuantizerSpec

convolution, convolution_backward = torch.convolution, torch.ops.aten.convolution_backward.default


class Geometry(NamedTuple):
    """A convolution without its tensors, in torch's terms; `padding`: zeros on both sides of each axis of space."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    def macs(self, x: Tensor, weight: Tensor) -> int:
        """Multiply-accumulates: each value of the output (transposed: of the input) meets one channel's weights."""
        if self.transposed:
            return x.numel() * weight[0].numel()
        positions = x.shape[0] * weight.shape[0]
        for size, kernel, stride, padding, dilation in zip(
            x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation, strict=True
        ):
            positions *= (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        return positions * weight[0].numel()


class ConvolutionQuantizers(WeightedProduct):
    """The quantizers of a convolution, and its product.

    Args:
        path: the layer's path.
        weight: (O, I/G, *K), transposed (I, O/G, *K); only its shape is looked at.
        transposed, groups: of the convolution.
        specs: settings for "weight", "input" and "grad_output", and for "bias" and "output" where there are any.
        context: state shared by the model's quantizers.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        weight: Tensor,
        transposed: bool,
        groups: int,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        calibration_bits: int = 8,
    ):
        self.shape, self.transposed, self.groups = tuple(weight.shape), transposed, groups
        self.layout = WeightLayout(self.shape, transposed, groups if transposed else 1)
        first, second = weight.shape[0], weight.shape[1] * groups
        outputs, inputs = (second, first) if transposed else (first, second)
        super().__init__(path, (outputs, weight.numel() // outputs), inputs, specs, context, calibration_bits)

    def matrix(self, weight: Tensor) -> Tensor:
        return self.layout.matrix(weight)

    def from_matrix(self, matrix: Tensor) -> Tensor:
        return self.layout.weight(matrix)

    def matrix_across(self, weight: Tensor) -> Tensor:
        """The weight (I, O/G * K) for dL/dx: a row for each input channel."""
        return rows_of_first(weight) if self.transposed else rows_of_second(weight, self.groups)

    def from_matrix_across(self, matrix: Tensor) -> Tensor:
        """Undo `matrix_across`."""
        if self.transposed:
            return matrix.reshape(self.shape)
        return from_rows_of_second(matrix, self.shape, self.groups)

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        geometry: Geometry,
        pad: Optional[tuple[list[int], str]],
        num_bits: Optional[int],
    ) -> Tensor:
        """The convolution of `x` (N, I, *S) at the bits in force for `num_bits`.

        Args:
            pad: sizes, from the last axis on, and mode of a padding that is no zeros on both sides alike.
        """
        bits, state = self.layer_call(num_bits)
        if self.integers is not None:
            self.integers.check(self.path, bits.right, self.training)
        bias = self.rounded_bias(bias, bits)
        if bits.full_precision:
            x = x if pad is None else F.pad(x, *pad)
            notify_full_precision(self.context.callbacks, self.path, x, weight, geometry.macs(x, weight))
            y = convolution(x, weight, bias, *geometry)
        else:
            dtype = product_dtype(x)
            left = round_images(self.quantizer("input"), x, bits.left, state)
            right = self._weight(weight, bits.right, dtype)
            call = MatmulCall.of(self, bits, state)
            target, value, source = left.grad_target, left.value.to(dtype), call.left.source(x)
            if pad is not None:  # what lies around x is made of rounded values
                target, value = F.pad(target, *pad), F.pad(value, *pad)
                source = None if source is None else F.pad(source, *pad)
            y = SimulatedConvolution.apply(  # type: ignore[no-untyped-call]
                target, right.grad_target, bias, value, right.value.to(dtype), call, geometry, self, source,
                call.right.source(weight) if self.integers is None else None,
            )  # fmt: skip
        if bits.result is not None:
            y = round_images(self.quantizer("output"), y, bits.result, state).tensor()
        return y


class SimulatedConvolution(torch.autograd.Function):
    """The convolution of `x_value` with a weight whose matrix is `w_matrix`; gradients go to `x` and `weight`.

    `x_source`, `w_source`: the numbers before rounding where backward rounds them anew, else None.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], x_value: Tensor, w_matrix: Tensor,
        call: MatmulCall, geometry: Geometry, layout: ConvolutionQuantizers, x_source: Optional[Tensor],
        w_source: Optional[Tensor],
    ) -> Tensor:  # fmt: skip
        ctx.call, ctx.geometry, ctx.layout = call, geometry, layout
        ctx.x_shape, ctx.x_dtype, ctx.w_dtype = x.shape, x.dtype, weight.dtype
        ctx.again = x_source is not None, w_source is not None
        needs_x, needs_w = ctx.needs_input_grad[:2]
        x_kept, w_kept = x_value if x_source is None else x_source, w_matrix if w_source is None else w_source
        ctx.save_for_backward(x_kept if needs_w else None, w_kept if needs_x else None)
        w_value = layout.from_matrix(w_matrix)
        if call.context.callbacks:
            left = call.left.operand(seen(call.left.quantizer, x_value))._replace(factor=x_value)
            right = call.right.operand(w_matrix)._replace(factor=w_value)
            call.notify("forward", left, right, geometry.macs(x_value, w_value))
        with torch.autocast(x.device.type, enabled=False):
            return convolution(x_value, w_value, None if bias is None else bias.to(x_value.dtype), *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        call: MatmulCall = ctx.call
        geometry: Geometry = ctx.geometry
        layout: ConvolutionQuantizers = ctx.layout
        (x, w), (x_again, w_again), turns = ctx.saved_tensors, ctx.again, call.grad.turns
        space, quantizer = grad.shape[2:], call.grad.quantizer
        grad_x = grad_w = grad_bias = None
        g, buffer = grad, None
        if not (turns and w is None):
            g, buffer = call.grad.rounded(seen(quantizer, grad))
            g = unseen(quantizer, g, space)
        if w is not None:
            rows = call.right.across(layout.matrix_across(w).mT, True, g.dtype).mT if w_again else w
            w_value = layout.from_matrix_across(rows) if w_again else layout.from_matrix(rows)
            x_like = g.new_empty(1).expand(ctx.x_shape)
            if call.context.callbacks:
                right = call.right.operand(rows)._replace(factor=w_value)
                left = call.grad.operand(seen(quantizer, g))._replace(factor=g)
                call.notify("grad_input", left, right, geometry.macs(x_like, w_value))
            grad_x = _gradient(g, x_like, w_value, geometry, 0).to(ctx.x_dtype)
        if x is not None:
            g_across = images(call.grad.across(vectors(grad)), space) if turns else g
            if x_again:
                x = images(call.left.across(vectors(x), True, g.dtype), x.shape[2:])
            w_like = g.new_empty(1).expand(layout.shape)
            if call.context.callbacks:
                left = call.grad.operand(seen(quantizer, g_across), turns)._replace(factor=g_across)
                right = call.left.operand(seen(call.left.quantizer, x), x_again)._replace(factor=x)
                call.notify("grad_weight", left, right, geometry.macs(x, w_like))
            grad_w = _gradient(g_across, x, w_like, geometry, 1).to(ctx.w_dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = (grad if turns else g).sum((0, *range(2, grad.dim())))
        call.grad.release(buffer)
        return grad_x, grad_w, grad_bias, None, None, None, None, None, None, None


def _gradient(g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, which: int) -> Tensor:
    """dL/dx (which 0) or dL/dw (1) of a convolution; of what it does not depend on only the shape is read."""
    mask = [which == 0, which == 1, False]
    return convolution_backward(g, x, weight, None, *geometry, mask)[which]  # type: ignore[no-any-return]
