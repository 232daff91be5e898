"""Range, scale and codes of a matrix in one call (`codes.cpp`): the codes of `codes.encode`, to the last bit.

Shapes: R rows, C columns.

>>> from fairseq.quantization.formats import build_format
>>> x = torch.tensor([[-1.0, 0.0, 2.0], [0.5, 1.2, 1.7]])
>>> encode_matrix(x, [EncodeRequest(KernelQParams.of(build_format("affine"), 2))]).codes[0].data.tolist()
[[0, 1, 3], [1, 2, 3]]
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, is_tracing
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.kernels.codes import NotANumber, QuantizedMatrix, make_codes
from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.kernels.library import library, required


class EncodeRequest(NamedTuple):
    """One set of codes: of x times `column_scale` (1, C), or of x times `row_scale` (R, 1)."""

    kernel_qparams: KernelQParams
    column_scale: Optional[Tensor] = None
    row_scale: Optional[Tensor] = None


class EncodedSet(NamedTuple):
    """Codes for each request, and the last one's sums over the rows, int32 (1, C), where asked for."""

    codes: list[QuantizedMatrix]
    sums: Optional[Tensor]


def is_available(x: Tensor, number_format: NumberFormat) -> bool:
    """Whether `encode_matrix` takes `x`; not while operations are traced, and not below the size limit."""
    if x.device.type != "cpu" or x.numel() < MIN_KERNEL_ELEMENTS or number_format.kernel_id is None or is_tracing():
        return False
    return x.dtype == torch.float32 and library("codes") is not None


def encode_matrix(x: Tensor, requests: Sequence[EncodeRequest], sums: bool = False) -> EncodedSet:
    """Codes of `x` (R, C), contiguous fp32, for one or two requests, which share the rounding noise.

    Raises:
        RuntimeError: there is no library, see `is_available`.
        MemoryError: too little of it.
        NotANumber: x holds NaN, and a range was given.
    """
    native = required("codes", "kernels.codes.encode")
    rows, columns = x.shape
    outs = [torch.empty(x.shape, dtype=torch.uint8, device="cpu") for _ in requests]
    total = torch.empty(1, columns, dtype=torch.int32, device="cpu") if sums else None
    kept = [_EncodeRequest.of(each, out) for each, out in zip(requests, outs, strict=True)]
    records = (_EncodeRequest * len(requests))(*kept)
    failed = native.encode_matrix(
        ctypes.c_void_p(x.data_ptr()), *map(ctypes.c_int64, (rows, columns)), records, ctypes.c_int64(len(requests)),
        None if total is None else ctypes.c_void_p(total.data_ptr()), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for the codes of {rows}x{columns} values")
    if any(each.kernel_qparams.has_range and math.isnan(each.kernel_qparams.low) for each in requests):
        raise NotANumber
    return EncodedSet([_codes(out, each.kernel_qparams) for out, each in zip(outs, requests, strict=True)], total)


def encode_rows(x: Tensor, number_format: NumberFormat, qparams: QParams, num_bits: int) -> QuantizedMatrix:
    """Codes of `x` (R, C), contiguous fp32, with a scale for each row; rounded to nearest.

    Raises:
        RuntimeError: there is no library, see `is_available`.
    """
    native = required("codes", "kernels.codes.encode")
    scale, zero = (part.reshape(-1, 1).float().contiguous() for part in (qparams.scale, qparams.zero_point))
    out = torch.empty(x.shape, dtype=torch.uint8, device="cpu")
    kernel_qparams = KernelQParams.of(number_format, num_bits)
    native.encode_rows(
        ctypes.c_void_p(x.data_ptr()), *map(ctypes.c_int64, x.shape), ctypes.byref(kernel_qparams),
        *(ctypes.c_void_p(part.data_ptr()) for part in (scale, zero, out)), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    return make_codes(out, scale, zero, num_bits, number_format)


def _codes(data: Tensor, kernel_qparams: KernelQParams) -> QuantizedMatrix:
    # grids of running ranges come back with every call; tensors made in inference mode must not outlive it
    known = bool(kernel_qparams.has_range) and not torch.is_inference_mode_enabled()
    make = _known_grid if known else _grid
    offset = kernel_qparams.offset if kernel_qparams.has_offset else None
    return QuantizedMatrix(
        data, *make(kernel_qparams.scale, kernel_qparams.zero_point, offset), kernel_qparams.num_bits
    )


def _grid(scale: float, zero_point: int, offset: Optional[float]) -> tuple[Tensor, Tensor, Optional[Tensor]]:
    return (
        torch.tensor([[scale]], dtype=torch.float32, device="cpu"),
        torch.tensor([[zero_point]], dtype=torch.int32, device="cpu"),
        None if offset is None else torch.tensor([[offset]], dtype=torch.float32, device="cpu"),
    )


_known_grid = functools.lru_cache(maxsize=4096)(_grid)


class _EncodeRequest(ctypes.Structure):
    """`EncodeRequest` of codes.cpp."""

    _fields_ = [
        ("qparams", ctypes.POINTER(KernelQParams)),
        *((name, ctypes.c_void_p) for name in ("column_scale", "row_scale", "codes")),
    ]

    @classmethod
    def of(cls, request: EncodeRequest, out: Tensor) -> "_EncodeRequest":
        factors = [None if part is None else part.contiguous() for part in (request.column_scale, request.row_scale)]
        addresses = (None if part is None else part.data_ptr() for part in factors)
        made = cls(ctypes.pointer(request.kernel_qparams), *addresses, out.data_ptr())
        made.kept = factors  # keeps the tensors alive while C++ has their addresses
        return made
