"""Codes of the operands of integer products: of inputs, weights and gradients, as their quantizers round them.

Each is made in one call where `kernels.encoding` or `kernels.weights` can, else by compiled or eager operations of
torch; the codes are the same. Inputs are kept for backward packed (several to the byte at 4 bits or fewer), and layers
on one input share them.

Shapes: M rows (tokens) and K columns of an input, N output features; weights (N, K), gradients (M, N).
"""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native import minmax
from fairseq.quantization.call_state import CallState, SharedResult
from fairseq.quantization.kernels import encoding, gemm, weights
from fairseq.quantization.kernels.codes import (
    NotANumber,
    PackedMatrix,
    QuantizedMatrix,
    column_sums,
    decode,
    encode,
    encode_twice,
    extremes,
    magnitudes,
    pack,
)
from fairseq.quantization.kernels.encoding import EncodeRequest, encode_matrix
from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.observers.base import Range
from fairseq.quantization.observers.minmax import MinMax
from fairseq.quantization.observers.running import RunningObserver
from fairseq.quantization.products.simulated import MatmulCall
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey, hash_state

MIN_WEIGHT_ELEMENTS = 2**14  # of a weight: for smaller ones no C++ compiler is started


class EncodedActivation:
    """An activation's codes, and their packed form, which is kept for backward. Layers on one input share both."""

    def __init__(self, codes: QuantizedMatrix):
        self.codes = codes
        self._packed: Optional[PackedMatrix] = None

    def packed(self) -> PackedMatrix:
        """The codes with several to the byte."""
        if self._packed is None:
            self._packed = pack(self.codes)
        return self._packed


class SavedActivation:
    """All of an activation's codes but the data, which autograd keeps."""

    def __init__(self, encoded: EncodedActivation):
        packed = encoded.packed()
        self.columns, self.codes = packed.columns, packed.codes._replace(data=packed.codes.data[:0].clone())

    def restore(self, data: Tensor) -> QuantizedMatrix:
        """The codes, given their packed data."""
        return PackedMatrix(self.codes._replace(data=data), self.columns).unpack()


@torch.no_grad()
def weight_codes(quantizer: Quantizer, weight: Tensor, num_bits: int) -> PreparedWeight:
    """Codes of a weight (N, K).

    Raises:
        NotANumber: the weight holds NaN, and its range is not its own.
    """
    weight = weight.detach()
    if type(quantizer.observer) is MinMax and quantizer.format.is_symmetric and weight.is_contiguous():
        by_row = (
            quantizer.granularity.kind != "tensor" and not quantizer.stochastic and not quantizer.context.needs_tensors
        )
        if by_row and weight.numel() >= MIN_WEIGHT_ELEMENTS and weights.is_available(weight, quantizer.format):
            quantizer._notify(weight, weight, num_bits)  # callbacks here only count
            if gemm.is_preferred(weight.device):
                return PreparedWeight.of_packed(*weights.encode_packed(weight, num_bits), num_bits)
            return PreparedWeight.of_rows(*weights.encode_rows(weight, num_bits), num_bits)
        largest = magnitudes(weight) if quantizer.granularity.kind != "tensor" else magnitudes(weight).amax().view(1, 1)
        qparams = quantizer.format.qparams(-largest, largest, num_bits)
    else:
        qparams = quantizer._qparams(weight.float(), num_bits)[0]
        own_range = type(quantizer.observer) is MinMax and quantizer.learned is None  # NaN then has a scale of NaN
        if not own_range and weight.isnan().any() and not qparams.scale.isnan().any():
            raise NotANumber
    noise = quantizer._noise(weight, None, 0)
    by_row = noise is None and qparams.scale.numel() == weight.shape[0] > 1 and weight.is_contiguous()
    if by_row and encoding.is_available(weight, quantizer.format):
        codes = encoding.encode_rows(weight, quantizer.format, qparams, num_bits)
    else:
        codes = encode(weight, quantizer.format, qparams, num_bits, noise)
    if quantizer.context.callbacks:
        quantizer._notify(weight, decode(codes) if quantizer.context.needs_tensors else weight, num_bits)
    return PreparedWeight(codes)


@torch.no_grad()
def input_codes(quantizer: Quantizer, x: Tensor, num_bits: int, state: Optional[CallState] = None) -> EncodedActivation:
    """Codes of `x` (..., K) as a matrix, or those that the quantizer before this one made of the same tensor.

    Args:
        state: of the model's call, in which codes are shared.

    Raises:
        NotANumber: x holds NaN, and its range is that of earlier batches.
    """
    context, observer = quantizer.context, quantizer.observer
    min_max = None
    on_cpu = x.device.type == "cpu"  # elsewhere a number would have to be waited for
    if (
        isinstance(observer, RunningObserver)
        and on_cpu
        and one_range(quantizer)
        and not (observer.training or context.calibrating)
    ):
        min_max = observer.evaluation_numbers()  # in evaluation each has its own running range
    shares = quantizer.may_share and (
        min_max is not None or not observer.is_running or quantizer.training or context.calibrating
    )
    if state is not None and not state.running:
        state = None
    settings = "codes", quantizer.spec, num_bits, quantizer.training, min_max
    last = None if state is None else state.shared
    version = x._version if not x.is_inference() else 0 if state is not None and state.unchanged is x else None
    if shares and last is not None and last.x is x and last.version == version and last.settings == settings:
        if isinstance(observer, RunningObserver) and min_max is None:
            observer.update(last.range)
        encoded: EncodedActivation = last.result
        reused = True
    else:
        if state is not None:
            state.shared = None
        ranges: list[Range] = []
        encoded, reused = EncodedActivation(_codes_of(quantizer, x, num_bits, min_max, ranges)), False
        if state is not None and shares and version is not None:
            state.shared = SharedResult(x, version, settings, ranges[0] if ranges else None, encoded)
    if context.callbacks:
        shown = decode(encoded.codes).view(x.shape).to(x.dtype) if context.needs_tensors else x
        quantizer._notify(x, shown, num_bits, reused)
    return encoded


def one_range(quantizer: Quantizer) -> bool:
    """Whether all of a tensor has one grid, of its smallest and largest value or of a running average of these, and is
    rounded to nearest.
    """
    observer = quantizer.observer
    source = observer.source if isinstance(observer, RunningObserver) else observer
    plain = quantizer.granularity.kind == "tensor" and quantizer.learned is None and not quantizer.stochastic
    return plain and type(source) is MinMax


def _codes_of(
    quantizer: Quantizer, x: Tensor, num_bits: int, min_max: Optional[tuple[float, float]], ranges: list[Range]
) -> QuantizedMatrix:
    wide = x.float()
    rows = wide.reshape(-1, x.shape[-1]).contiguous()
    noise = quantizer._noise(x, None, 0)
    one_range = quantizer.granularity.kind == "tensor" and quantizer.learned is None and noise is None
    if not one_range or not encoding.is_available(rows, quantizer.format):
        codes = encode(rows, quantizer.format, quantizer._qparams(wide, num_bits, ranges)[0], num_bits, noise)
        return codes if type(quantizer.observer) is MinMax else _without_nan(codes, rows)
    if min_max is None:
        found = (
            minmax.cached_minmax(x)
            if type(quantizer.observer) is MinMax
            else quantizer.range_of(wide, num_bits, ranges)[:2]
        )
        min_max = None if found is None else (float(found[0]), float(found[1]))
    kernel_qparams = KernelQParams.of(quantizer.format, num_bits, min_max)
    return encode_matrix(rows, [EncodeRequest(kernel_qparams)]).codes[0]


def _without_nan(codes: QuantizedMatrix, x: Tensor) -> QuantizedMatrix:
    """`codes` of x (R, C), on a grid that is not of x alone."""
    if x.device.type != "cpu":  # the host would have to wait for an answer: rows with NaN get a scale of NaN
        nan = torch.full((), math.nan, device=x.device)
        return codes._replace(scale=torch.where(x.isnan().any(1, keepdim=True), nan, codes.scale))
    if x.isnan().any():
        raise NotANumber
    return codes


class GradientCodes(NamedTuple):
    """Codes of a gradient (M, N) for its product with w and for that with x; those that were wanted.

    Attributes:
        sums: of the codes for x, over the rows, int32 (1, N); of the others where these are not wanted.
    """

    for_x: Optional[QuantizedMatrix]
    for_w: Optional[QuantizedMatrix]
    sums: Tensor


def gradient_codes(
    grad: Tensor,
    call: MatmulCall,
    column_scale: Optional[Tensor],
    row_scale: Optional[Tensor],
    wanted: tuple[bool, bool],
) -> GradientCodes:
    """Codes of a gradient (M, N), with the rounding that the call settled.

    Args:
        column_scale, row_scale: factors (1, N) for the first and (M, 1) for the second; without them both are the same
            codes.
        wanted: which of the two.
    """
    quantizer, num_bits = call.grad.quantizer, call.grad.num_bits
    assert quantizer is not None and num_bits is not None
    key = call.grad.key if quantizer.stochastic else None
    wanted = (wanted[0], wanted[1] or not wanted[0])  # a bias alone needs codes, too
    column_scale, row_scale = (column_scale if wanted[0] else None), (row_scale if wanted[1] else None)
    wide = grad.float() if grad.device.type == "cpu" else grad
    if type(quantizer.observer) is MinMax and encoding.is_available(wide, quantizer.format):
        state = None if key is None else hash_state(key)
        # both are made with factors on either; with none they are the same
        factors = (
            [(column_scale, None), (None, row_scale)]
            if all(wanted) and (column_scale, row_scale) != (None, None)
            else [(column_scale, row_scale)]
        )
        sets = [EncodeRequest(KernelQParams.of(quantizer.format, num_bits, None, state), *each) for each in factors]
        made, sums = encode_matrix(wide, sets, sums=True)
        assert sums is not None
        return GradientCodes(made[0] if wanted[0] else None, made[-1] if wanted[1] else None, sums)
    for_x, for_w = _torch_gradient_codes(grad, quantizer, num_bits, key, column_scale, row_scale, wanted)
    last = for_w if for_w is not None else for_x
    assert last is not None
    return GradientCodes(for_x, for_w, column_sums(last.data))


def _torch_gradient_codes(
    grad: Tensor, quantizer: Quantizer, num_bits: int, key: Optional[NoiseKey], column_scale: Optional[Tensor],
    row_scale: Optional[Tensor], wanted: tuple[bool, bool],
) -> tuple[Optional[QuantizedMatrix], Optional[QuantizedMatrix]]:  # fmt: skip
    noise = None if key is None else HashNoise(key, grad)
    if type(quantizer.observer) is not MinMax and grad.isnan().any():
        raise NotANumber
    if type(quantizer.observer) is MinMax:
        ends = extremes(grad, column_scale, row_scale, quantizer.format.is_symmetric)
        all_qparams = [quantizer.format.qparams(low, high, num_bits) for low, high in (ends[:2], ends[2:])]
    else:
        all_qparams = [
            quantizer._qparams(grad.float() if factor is None else grad.float() * factor, num_bits)[0]
            for factor in (column_scale, row_scale)
        ]
    if column_scale is None and row_scale is None:
        codes = encode(grad, quantizer.format, all_qparams[0], num_bits, noise)
        return (codes if wanted[0] else None), (codes if wanted[1] else None)
    if all(wanted):
        return encode_twice(
            grad, quantizer.format, (all_qparams[0], all_qparams[1]), num_bits, noise, column_scale, row_scale
        )
    if wanted[0]:
        return encode(grad, quantizer.format, all_qparams[0], num_bits, noise, column_scale), None
    return None, encode(grad, quantizer.format, all_qparams[1], num_bits, noise, None, row_scale)
