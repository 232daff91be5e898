"""Codes of GELU of x, and their range, without writing GELU's values anywhere (`native/src/gelu.cpp`)."""

import ctypes

import torch
from torch import Tensor

from fairseq.native.gelu import is_large, kernels, sizes
from fairseq.native.library import pointer
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.kernels.codes import NotANumber


def has_codes(x: Tensor, number_format: NumberFormat) -> bool:
    """Whether `range_of` and `codes_of` take `x` and that format."""
    return is_large(x) and number_format.kernel_id is not None and kernels(x) is not None


def range_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of GELU, where `has_codes`."""
    native, min_max = kernels(x), torch.empty(2, dtype=torch.float32, device="cpu")
    assert native is not None
    native.gelu_range(pointer(x), *sizes(x, min_max))
    return min_max[0], min_max[1]


def codes_of(x: Tensor, number_format: NumberFormat, qparams: QParams, num_bits: int, out: Tensor) -> None:
    """Write the codes of GELU of `x`, in order, from 0 to `out` (uint8), where `has_codes`; one scale for all.

    Raises:
        NotANumber: GELU of x holds NaN, and the scale is not NaN.
    """
    native = kernels(x)
    assert native is not None
    zero, least = qparams.zero_point.float(), number_format.first_code(num_bits)
    if number_format.has_exact_zero:  # clamped before the zero point is added: all three are whole numbers
        numbers = [
            0.0,
            float(qparams.scale.reciprocal()),
            float(qparams.quant_min - zero),
            float(qparams.quant_max - zero),
        ]
        offset = 0 if zero.isnan() else int(zero) - least
    else:
        numbers, offset = [float(part) for part in (zero, qparams.scale, qparams.quant_min, qparams.quant_max)], -least
    bad = native.gelu_codes(
        pointer(x), pointer(out), ctypes.c_int64(x.numel()), *map(ctypes.c_float, numbers), ctypes.c_int32(offset),
        ctypes.c_int32(not number_format.has_exact_zero), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    if bad and not qparams.scale.isnan():
        raise NotANumber
