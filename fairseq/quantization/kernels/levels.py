"""Fake quantization to levels that are no even grid, in C++: each value is read once and written once (`levels.cpp`).

Formats say what they round to: lists of levels (`native_levels`), or floating-point numbers of few digits
(`native_digits`). Torch's operations need several tensors as large as x for a list, and a pass each over pieces in
cache for digits. The numbers are the same to the last bit. What does not fit here, and everything on a machine without
a compiler, is left to them.
"""

import ctypes
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native.compiled import is_tracing
from fairseq.native.library import pointer
from fairseq.quantization.cached import cached_constant
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.formats.base import LevelTable
from fairseq.quantization.kernels.library import library
from fairseq.quantization.kernels.matrices import in_memory_order, scale_shape

MIN_ELEMENTS = 2**14  # for fewer no compiler is started
PIECE = 2**14  # elements that a thread takes at a time where rows say nothing
FEW = 32  # levels that are compared one after the other
MOST_ROUNDS = 4  # comparisons for one value of a longer list
NONE, ONE, OF_ROWS, OF_COLUMNS = range(4)  # where scales lie, as in levels.cpp


class Matrix(ctypes.Structure):
    """`Matrix` of levels.cpp."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "out", "scale")),
        *((name, ctypes.c_int64) for name in ("count", "columns")),
        ("layout", ctypes.c_int32),
    ]


class Listed(ctypes.Structure):
    """`Listed` of levels.cpp."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("thresholds", "levels", "starts")),
        ("count", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("by_row_thresholds", "by_row_levels", "rounds", "divides")),
    ]


class Digits(ctypes.Structure):
    """`Digits` of levels.cpp."""

    _fields_ = [
        (name, ctypes.c_float) for name in ("least_normal", "whole", "least_shift", "bound", "largest", "beyond")
    ]


def fake_quantize(number_format: NumberFormat, x: Tensor, qparams: QParams, out: Tensor) -> bool:
    """Write the rounded `x` to `out` and return True; False, having done nothing, where it does not fit."""
    if x.numel() < MIN_ELEMENTS or x.dtype != torch.float32 or out.dtype != torch.float32:
        return False
    if x.device.type != "cpu" or is_tracing():
        return False
    digits = number_format.native_digits()
    table = number_format.native_levels(qparams) if digits is None else None
    if digits is None and table is None:
        return False
    scale = qparams.scale.contiguous() if number_format.scale_bits else None
    matrix = _matrix(x, out, scale)
    if matrix is None:
        return False
    if digits is not None:
        return _round_to_digits(matrix, digits)
    return table is not None and _round_to_listed(matrix, table)


def _matrix(x: Tensor, out: Tensor, scale: Optional[Tensor]) -> Optional[Matrix]:
    """`x` and `out` as matrices that lie in order; None where they do not. It has their addresses, not the tensors."""
    if scale is None or scale.numel() == 1:
        x, out = in_memory_order(x, out)
    if not (x.is_contiguous() and out.is_contiguous()):
        return None
    addresses = pointer(x), pointer(out), pointer(scale)
    if scale is None or scale.numel() == 1:
        return Matrix(*addresses, x.numel(), PIECE, NONE if scale is None else ONE)
    shape = scale_shape(scale, x)
    if shape is None:
        return None
    return Matrix(*addresses, x.numel(), x.shape[-1], OF_COLUMNS if shape[0] == 1 else OF_ROWS)


def _round_to_digits(matrix: Matrix, digits: tuple[float, ...]) -> bool:
    native = library("levels")
    if native is None:
        return False
    threads = ctypes.c_int64(torch.get_num_threads())
    native.round_to_digits(ctypes.byref(matrix), ctypes.byref(Digits(*digits)), threads)
    return True


def _round_to_listed(matrix: Matrix, table: LevelTable) -> bool:
    tables = max(len(table.thresholds), len(table.levels))
    if tables > 1 and (matrix.layout != OF_ROWS or tables != matrix.count // matrix.columns):
        return False
    count = table.levels.shape[-1]
    if count > FEW and tables > 1:
        return False
    starts = _starts(tuple(table.thresholds[0].tolist())) if count > FEW else None
    if starts is not None and starts.rounds > MOST_ROUNDS:
        return False
    native = library("levels")
    if native is None:
        return False
    thresholds = table.thresholds.contiguous() if starts is None else starts.thresholds
    levels = table.levels.contiguous()
    listed = Listed(
        pointer(thresholds), pointer(levels), pointer(None if starts is None else starts.indices), count,
        len(thresholds) > 1, len(levels) > 1, 0 if starts is None else starts.rounds, table.of_ratio,
    )  # fmt: skip
    native.round_to_listed(ctypes.byref(matrix), ctypes.byref(listed), ctypes.c_int64(torch.get_num_threads()))
    return True


class Starts(NamedTuple):
    """A long list by the 16 leading bits of a number.

    Attributes:
        indices: (2^16) how many thresholds lie below all numbers with these bits; 16 bits each, without sign.
        rounds: the most thresholds that lie among the numbers with the same ones.
        thresholds: the list's (1, N), infinity behind the last.
    """

    indices: Tensor
    rounds: int
    thresholds: Tensor


@cached_constant(maxsize=32)
def _starts(thresholds: tuple[float, ...]) -> Starts:
    bits = torch.arange(2**16, dtype=torch.int32)
    is_positive = bits < 2**15
    inner, outer = (bits << 16).view(torch.float32), ((bits << 16) | 0xFFFF).view(torch.float32)
    smallest, largest = torch.where(is_positive, inner, outer), torch.where(is_positive, outer, inner)
    found = torch.tensor(thresholds)
    # beside an infinity begin only NaNs, which are looked up nowhere: it lies below or above all thresholds
    first = torch.where(smallest.isnan(), 0, torch.bucketize(smallest, found))
    last = torch.where(largest.isnan(), first, torch.bucketize(largest, found))
    behind = torch.cat([found, found.new_tensor([torch.inf])])
    return Starts(first.to(torch.uint16), int((last - first).max()), behind[None])
