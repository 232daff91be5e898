"""Integer codes of a matrix, and what is needed to multiply and store them.

    value = scale * (code - zero_point) + offset         code: 0 .. 2^b - 1 in uint8 (a symmetric code plus 2^(b-1))

`scale`, `zero_point` (whole numbers, int32) and `offset` hold for all, per row or per column. `offset` is None in
formats in which 0 is a level. A real zero point is split into a whole number of steps, which stays in exact integer
arithmetic, and a remainder, the offset, which is added in floating point. Codes are uint8 because the int8 dot-product
instructions of x86 take an unsigned left operand.

Encoding is two passes over x: its range, and the codes. The codes equal those of the format's own `quantize`. A
gradient is multiplied by `column_scale` and `row_scale` before it is rounded: `products/integer_linear.py` says why.

Shapes: R rows, C columns of one matrix of codes. Callers name the same axes by their meaning (`linear.py`).

>>> from fairseq.quantization.formats import build_format
>>> number_format = build_format("affine")
>>> x = torch.tensor([[-1.0, 0.0, 2.0], [0.5, 1.2, 1.7]])
>>> codes = encode(x, number_format, number_format.qparams(x.min(), x.max(), 2), 2)
>>> codes.data
tensor([[0, 1, 3],
        [1, 2, 3]], dtype=torch.uint8)
>>> decode(codes)
tensor([[-1.,  0.,  2.],
        [ 0.,  1.,  2.]])
>>> torch.equal(decode(pack(codes).unpack()), decode(codes))
True
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native.compiled import kernel
from fairseq.quantization.cached import cached_tensors
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.kernels.packing import pack_bits, unpack_bits
from fairseq.quantization.kernels.rounding import TracedNoise
from fairseq.quantization.rounding.noise import HashNoise

MAX_ZERO_POINT = 255  # of codes of 8 bits; a larger part of the zero point goes to the offset


class NotANumber(Exception):
    """A tensor that is rounded to a given range holds NaN. No code stands for it: its product has to be simulated.

    Where the range is the tensor's own, it is NaN itself, and so are the scale and the product.
    """


class QuantizedMatrix(NamedTuple):
    """A matrix (R, C), or a batch (B, R, C) of matrices, as codes.

    Attributes:
        data: uint8 (R, C), or (B, R, C) in any strides.
        scale: fp32, (1, 1), (R, 1) or (1, C); of a batch (1, 1, 1) or (B, R, 1).
        zero_point: int32, of scale's shape.
        offset: fp32 of scale's shape, or None where 0 is a level.
        num_bits: of the codes.
    """

    data: Tensor
    scale: Tensor
    zero_point: Tensor
    offset: Optional[Tensor]
    num_bits: int

    def batch(self, shape: tuple[int, int, int]) -> "QuantizedMatrix":
        """A matrix (B * R, C) as a batch of `shape` (B, R, C)."""
        sizes = (1, 1, 1) if self.scale.numel() == 1 else (*shape[:2], 1)
        return self._replace(
            data=self.data.view(shape),
            scale=self.scale.reshape(sizes),
            zero_point=self.zero_point.reshape(sizes),
            offset=None if self.offset is None else self.offset.reshape(sizes),
        )

    @property
    def transposed(self) -> "QuantizedMatrix":
        """The transpose of each matrix of a batch.

        Raises:
            ValueError: there is more than one scale; it would change along the contraction.
        """
        if self.scale.numel() > 1:
            raise ValueError("a transpose needs one scale for all")
        return self._replace(data=self.data.mT)


class PackedMatrix(NamedTuple):
    """A matrix (R, C) with `codes_per_byte` codes in each byte; `codes.data` is (R, ceil(C / codes_per_byte))."""

    codes: QuantizedMatrix
    columns: int

    def unpack(self) -> QuantizedMatrix:
        return self.codes._replace(data=unpack_bits(self.codes.data, _width(self.codes.num_bits), self.columns))


def pack(codes: QuantizedMatrix) -> PackedMatrix:
    """Pack codes into bytes, `codes_per_byte` to each."""
    return PackedMatrix(codes._replace(data=pack_bits(codes.data, _width(codes.num_bits))), codes.data.shape[1])


def codes_per_byte(num_bits: int) -> int:
    """The packing density: 8 codes of 1 bit, 4 of 2, 2 of up to 4, 1 of more."""
    return 8 if num_bits == 1 else 4 if num_bits <= 2 else 2 if num_bits <= 4 else 1


def _width(num_bits: int) -> int:
    """Bits that one code takes in a packed byte."""
    return 8 // codes_per_byte(num_bits)


# --- codes ------------------------------------------------------------------------------------------------------------


def encode(
    x: Tensor,
    number_format: NumberFormat,
    qparams: QParams,
    num_bits: int,
    noise: Optional[HashNoise] = None,
    column_scale: Optional[Tensor] = None,
    row_scale: Optional[Tensor] = None,
) -> QuantizedMatrix:
    """Codes of `x` (R, C) in a uniform format, whose scale has one element, R of them or C of them.

    Args:
        noise: for stochastic rounding.
        column_scale, row_scale: factors (1, C) and (R, 1) on x.
    """
    scale, zero = (_broadcast_shape(part, x) for part in (qparams.scale, qparams.zero_point))
    out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    base = number_format.first_code(num_bits)
    bounds = _bounds(qparams.quant_min, qparams.quant_max, base, x.device)
    hashes: tuple[Optional[Tensor], Optional[Tensor]] = (None, None)
    if noise is not None:
        hashes = noise.row_hashes, noise.column_hashes
    _encode(x, number_format, scale, zero, *bounds, *hashes, column_scale, row_scale, out)
    return make_codes(out, scale, zero, num_bits, number_format)


def make_codes(
    data: Tensor, scale: Tensor, zero: Tensor, num_bits: int, number_format: NumberFormat
) -> QuantizedMatrix:
    """A `QuantizedMatrix` of a uniform format from its codes, scales and the format's zero points."""
    scale = scale + (scale - scale)  # an infinite one becomes NaN: it stands for 0 * inf, as in the simulation
    if number_format.has_exact_zero:
        return QuantizedMatrix(data, scale, (zero - number_format.first_code(num_bits)).to(torch.int32), None, num_bits)
    zero_point = (-zero / scale).round().clamp(0, MAX_ZERO_POINT)
    return QuantizedMatrix(data, scale, zero_point.to(torch.int32), torch.addcmul(zero, zero_point, scale), num_bits)


@kernel
def _encode(
    x: Tensor, number_format: NumberFormat, scale: Tensor, zero: Tensor, low: Tensor, high: Tensor, base: Tensor,
    row_hashes: Optional[Tensor], column_hashes: Optional[Tensor], column_scale: Optional[Tensor],
    row_scale: Optional[Tensor], out: Tensor,
) -> None:  # fmt: skip
    qparams, noise = QParams(scale, zero, low, high), _traced(row_hashes, column_hashes)
    out.copy_(number_format.quantize(_scaled(x, column_scale, row_scale), qparams, noise, None, True).sub_(base))


def _traced(row_hashes: Optional[Tensor], column_hashes: Optional[Tensor]) -> Optional[TracedNoise]:
    return None if row_hashes is None or column_hashes is None else TracedNoise(row_hashes, column_hashes)


def encode_twice(
    x: Tensor,
    number_format: NumberFormat,
    all_qparams: tuple[QParams, QParams],
    num_bits: int,
    noise: Optional[HashNoise],
    column_scale: Optional[Tensor],
    row_scale: Optional[Tensor],
) -> tuple[QuantizedMatrix, QuantizedMatrix]:
    """`encode` of x times `column_scale` and of x times `row_scale`, in one pass."""
    if all_qparams[0].scale.numel() > 1 or all_qparams[1].scale.numel() > 1:
        raise ValueError("encode_twice needs one scale per matrix")
    (scale1, zero1), (scale2, zero2) = (
        (_broadcast_shape(qparams.scale, x), _broadcast_shape(qparams.zero_point, x)) for qparams in all_qparams
    )
    out1, out2 = (torch.empty(x.shape, dtype=torch.uint8, device=x.device) for _ in all_qparams)
    base = number_format.first_code(num_bits)
    bounds = _bounds(all_qparams[0].quant_min, all_qparams[0].quant_max, base, x.device)
    hashes: tuple[Optional[Tensor], Optional[Tensor]] = (None, None)
    if noise is not None:
        hashes = noise.row_hashes, noise.column_hashes
    _encode_twice(x, number_format, scale1, zero1, scale2, zero2, *bounds, *hashes, column_scale, row_scale, out1, out2)
    return (
        make_codes(out1, scale1, zero1, num_bits, number_format),
        make_codes(out2, scale2, zero2, num_bits, number_format),
    )


@kernel
def _encode_twice(
    x: Tensor, number_format: NumberFormat, scale1: Tensor, zero1: Tensor, scale2: Tensor, zero2: Tensor,
    low: Tensor, high: Tensor, base: Tensor, row_hashes: Optional[Tensor], column_hashes: Optional[Tensor],
    column_scale: Optional[Tensor], row_scale: Optional[Tensor], out1: Tensor, out2: Tensor,
) -> None:  # fmt: skip
    noise = _traced(row_hashes, column_hashes)
    first, second = QParams(scale1, zero1, low, high), QParams(scale2, zero2, low, high)
    out1.copy_(number_format.quantize(_scaled(x, column_scale, None), first, noise, None, True).sub_(base))
    out2.copy_(number_format.quantize(_scaled(x, None, row_scale), second, noise, None, True).sub_(base))


def extremes(
    x: Tensor, column_scale: Optional[Tensor], row_scale: Optional[Tensor], symmetric: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smallest and largest value of x times `column_scale`, and of x times `row_scale`, as (1, 1) tensors.

    `symmetric`: only the larger magnitude counts, and is returned for both ends.
    """
    function: Any = _magnitudes if symmetric else _row_ends
    min_max = function(x, column_scale)
    low, high, low_rows, high_rows = (-min_max[0], min_max[0], -min_max[1], min_max[1]) if symmetric else min_max
    if row_scale is not None:  # positive, and the same along a row
        low_rows, high_rows = low_rows * row_scale.view(-1), high_rows * row_scale.view(-1)
    a, b, c, d = (low.amin(), high.amax(), low_rows.amin(), high_rows.amax())
    return a.view(1, 1), b.view(1, 1), c.view(1, 1), d.view(1, 1)


def magnitudes(x: Tensor) -> Tensor:
    """The largest absolute value of each row, (R, 1)."""
    return _magnitudes(x, None)[0].view(-1, 1)


@kernel
def _row_ends(x: Tensor, column_scale: Optional[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # by row first: a reduction to one number at once compiles to slower code
    x = x.float()
    low, high = x.amin(1), x.amax(1)
    if column_scale is None:
        return low, high, low, high
    scaled = x * column_scale
    return scaled.amin(1), scaled.amax(1), low, high


@kernel
def _magnitudes(x: Tensor, column_scale: Optional[Tensor]) -> tuple[Tensor, Tensor]:
    x = x.float().abs()
    largest = x.amax(1)
    return largest if column_scale is None else (x * column_scale).amax(1), largest


def _scaled(x: Tensor, column_scale: Optional[Tensor], row_scale: Optional[Tensor]) -> Tensor:
    x = x.float()
    if column_scale is not None:
        x = x * column_scale
    return x if row_scale is None else x * row_scale


def decode(codes: QuantizedMatrix) -> Tensor:
    """The values, fp32."""
    return _decode(codes.data, codes.zero_point, codes.scale, codes.offset)


@kernel
def _decode(data: Tensor, zero_point: Tensor, scale: Tensor, offset: Optional[Tensor]) -> Tensor:
    values = (data.to(torch.int32) - zero_point) * scale
    return values if offset is None else values + offset


def signed(codes: QuantizedMatrix) -> tuple[Tensor, Tensor]:
    """The same codes in int8, around 0, and their zero point, which for symmetric codes is 0."""
    half = 2 ** (codes.num_bits - 1)
    data = codes.data.view(torch.int8)
    return data ^ -128 if half == 128 else data - half, codes.zero_point - half


@kernel
def column_sums(data: Tensor) -> Tensor:
    """Sums of integer codes (R, C) over the rows, int32 (1, C)."""
    return data.sum(0, keepdim=True, dtype=torch.int32)


@kernel
def transposed_copy(data: Tensor) -> Tensor:
    """A contiguous copy of `data.t()`."""
    return data.t().clone(memory_format=torch.contiguous_format)


@kernel
def row_sums(data: Tensor) -> Tensor:
    """Sums of integer codes (R, C) over the columns, int32 (R, 1)."""
    return data.sum(1, keepdim=True, dtype=torch.int32)


@kernel
def weighted_sums(data: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Sums of integer codes times `weights` over an axis that stays, in the weights' type (int32 or fp32)."""
    return (data.to(weights.dtype) * weights).sum(axis, keepdim=True, dtype=weights.dtype)


def _broadcast_shape(part: Tensor, x: Tensor) -> Tensor:
    """Scales or zero points as fp32 (1, 1), (R, 1) or (1, C)."""
    if part.numel() == 1:
        return part.reshape(1, 1).float()
    return part.reshape(-1, 1).float() if part.shape[-1] == 1 else part.reshape(1, -1).float()


@cached_tensors(maxsize=256)
def _bounds(low: Any, high: Any, base: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest and largest code and the code of data 0, as tensors: as numbers they would be compiled in."""
    low_tensor, high_tensor, base_tensor = (torch.tensor(float(n), device=device) for n in (low, high, base))
    return low_tensor, high_tensor, base_tensor
