"""The feed-forward block fc1, GELU, fc2 on codes where no gradient is wanted: evaluation, or a frozen backbone.

    y = fc2(gelu(fc1(x)))

GELU's values go to codes at once and are written nowhere. The codes are those of the layers one by one (values of GELU
that lie half way between two codes may be rounded to the other one).
"""

from typing import Optional, Protocol

import torch
from torch import Tensor

from fairseq.quantization.kernels import gelu_codes, gemm
from fairseq.quantization.kernels.codes import NotANumber, QuantizedMatrix, make_codes
from fairseq.quantization.kernels.linear import forward_product
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.observers.base import Range
from fairseq.quantization.observers.running import RunningObserver
from fairseq.quantization.products.integer_encode import input_codes, one_range
from fairseq.quantization.products.integer_linear import has_codes
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.simulated import OperandQuantizer, product_dtype
from fairseq.quantization.quantizer import Quantizer


class Linear(Protocol):
    """What is used of a `QLinear`."""

    quantizers: Optional[LinearQuantizers]
    weight: Tensor  # (out, in)
    bias: Optional[Tensor]
    out_features: int


def integer_feed_forward(fc1: Linear, fc2: Linear, x: Tensor, num_bits: Optional[int]) -> Optional[Tensor]:
    """The block's result, or None, with nothing done, where it has to be found layer by layer."""
    first, second = fc1.quantizers, fc2.quantizers
    if first is None or second is None or first.context is not second.context:
        return None
    context = first.context
    trained = (x, fc1.weight, fc1.bias, fc2.weight, fc2.bias)
    wanted = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in trained)
    if not (first.integer and second.integer) or wanted or x.device.type != "cpu" or product_dtype(x) != torch.float32:
        return None
    state = context.state
    if context.needs_tensors or state is None or not state.running:
        return None
    num_bits = context.resolve(num_bits)
    first_bits, second_bits = first.bits_at(num_bits), second.bits_at(num_bits)
    if not (first_bits.have_codes and second_bits.have_codes):
        return None
    if any(bits.bias is not None or bits.result is not None for bits in (first_bits, second_bits)):
        return None  # quantizers that are not part of the fused steps
    quantizer = second.quantizer("input")
    values = x.numel() // x.shape[-1] * fc1.out_features
    probe = torch.empty((), dtype=torch.float32, device="cpu").expand(values)
    if not (one_range(quantizer) and has_codes(x, fc1.weight) and gelu_codes.has_codes(probe, quantizer.format)):
        return None
    if not gemm.is_preferred(x.device, values * x.shape[-1]):
        return None
    x_bits, w1_bits, y_bits, w2_bits = (int(each or 0) for each in (*first_bits[:2], *second_bits[:2]))
    for layer, weight_bits in ((first, w1_bits), (second, w2_bits)):
        if layer.integers is not None:
            layer.integers.check(layer.path, weight_bits, layer.training)
    try:
        x_codes = input_codes(first.quantizer("input"), x, x_bits, state).codes
        w1, w2 = first._weight_codes(fc1.weight, w1_bits), second._weight_codes(fc2.weight, w2_bits)
        codes = _codes_between(x_codes, w1, fc1.bias, quantizer, y_bits)
    except NotANumber:
        return None
    _notify(first, x, (x_codes.data.shape[0], fc1.out_features), (x_bits, w1_bits))
    quantizer._notify(codes.data, codes.data, y_bits)
    _notify(second, codes.data, (codes.data.shape[0], fc2.out_features), (y_bits, w2_bits))
    return forward_product(codes, w2, fc2.bias, torch.float32).view(*x.shape[:-1], fc2.out_features)


def _codes_between(
    x: QuantizedMatrix, w: PreparedWeight, bias: Optional[Tensor], quantizer: Quantizer, num_bits: int
) -> QuantizedMatrix:
    """Codes of GELU of x w^T + bias, a matrix."""
    y, observer = forward_product(x, w, bias, torch.float32), quantizer.observer
    if isinstance(observer, RunningObserver) and not (observer.training or observer.context.calibrating):
        found = observer.evaluation_range(torch.empty(()))
    else:
        low, high = gelu_codes.range_of(y)
        found = Range(low.view(1), high.view(1), covers=True)
        if isinstance(observer, RunningObserver):
            observer.update(found)
    qparams = quantizer.format.qparams(found.low, found.high, num_bits)
    out = torch.empty(y.shape, dtype=torch.uint8, device="cpu")
    gelu_codes.codes_of(y, quantizer.format, qparams, num_bits, out)
    scale, zero = (part.float().view(1, 1) for part in (qparams.scale, qparams.zero_point))
    return make_codes(out, scale, zero, num_bits, quantizer.format)


def _notify(layer: LinearQuantizers, x: Tensor, shape: tuple[int, int], bits: tuple[int, int]) -> None:
    """Notify callbacks, which only count here."""
    left, right = (
        OperandQuantizer(layer.quantizer(name), each) for name, each in zip(("input", "weight"), bits, strict=True)
    )
    weight = torch.empty((), dtype=torch.int8).expand(shape[1], x.shape[-1])
    for callback in layer.context.callbacks:
        macs = shape[0] * shape[1] * x.shape[-1]
        callback.product(layer.path, "forward", left.operand(x), right.operand(weight), macs)
