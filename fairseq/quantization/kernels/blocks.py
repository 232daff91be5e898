"""Fake quantization of blocks that find their scales themselves.

A block's scale depends on nothing outside the block. So no range is taken first: on a CPU every block is read once and
written once (`blocks.cpp`); so it is on a GPU, where torch.compile makes the kernel (`rounding.py`). Without a compiler
a part of the tensor that stays in cache goes through all steps before the next one. The numbers are the same to the
last bit.
"""

import ctypes
from collections.abc import Iterator
from typing import Optional

import torch
from torch import Tensor

from fairseq.native.compiled import is_tracing
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats import NumberFormat
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.kernels import rounding
from fairseq.quantization.kernels.library import library, required
from fairseq.quantization.observers.base import largest_magnitude

PART = 2**16  # elements that stay in cache between the steps
MIN_BLOCK_ELEMENTS = 2**14  # elements: for fewer no compiler is started


class Blocks(ctypes.Structure):
    """`Blocks` of blocks.cpp."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("size", "carry", "top", "least_scale", "most_scale")),
        *((name, ctypes.c_float) for name in ("least_normal", "whole", "largest", "shared")),
    ]


def fake_quantize(
    context: QuantizationContext,
    number_format: NumberFormat,
    granularity: Granularity,
    x: Tensor,
    num_bits: int,
    out: Tensor,
) -> None:
    """Write the rounded `x` to `out`; `granularity` is that of the format's blocks."""
    if _natively(number_format, num_bits, x, out):
        return
    on_cpu = x.device.type == "cpu"  # where C++ makes better kernels of blocks than torch.compile does
    compiles = context.fused and not on_cpu and number_format.native_blocks(num_bits) is not None
    for piece, target in zip(granularity.pieces(x), granularity.pieces(out), strict=True):
        axes = granularity.reduced(piece)
        if compiles and rounding.fake_quantize_blocks(number_format, piece, num_bits, axes, target):
            continue
        for part, part_target in _parts(piece, target, axes) if on_cpu else ((piece, target),):
            most = largest_magnitude(part, axes)
            number_format.fake_quantize(part, number_format.qparams(-most, most, num_bits), None, part_target)


def _natively(number_format: NumberFormat, num_bits: int, x: Tensor, out: Tensor) -> bool:
    """Round by `blocks.cpp` and return True; False, having done nothing, where it does not fit."""
    if x.numel() < MIN_BLOCK_ELEMENTS or x.dtype != torch.float32 or out.dtype != torch.float32:
        return False
    if x.device.type != "cpu" or is_tracing() or library("blocks") is None:
        return False
    shape = _shape(x, out)
    fields = number_format.native_blocks(num_bits)  # None: blocks have several rows
    if shape is None or fields is None:
        return False
    native = required("blocks", "formats.block")
    along = native.blocks_along_rows if len(shape) == 2 else native.blocks_down_columns
    along(
        ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr()), *map(ctypes.c_int64, shape),
        ctypes.byref(Blocks(*fields)), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    return True


def _shape(x: Tensor, out: Tensor) -> Optional[tuple[int, ...]]:
    """(rows, columns) in memory where blocks lie along them; (matrices, rows, columns) where they lie down columns."""
    if x.is_contiguous() and out.is_contiguous():
        columns = x.shape[-1] if x.dim() else 1
        return x.numel() // columns, columns
    if x.dim() > 1 and x.mT.is_contiguous() and out.mT.is_contiguous():
        columns, rows = x.shape[-2:]
        return x.numel() // (rows * columns), rows, columns
    return None


def _parts(x: Tensor, out: Tensor, axes: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of both that hold whole blocks and lie together in memory."""
    kept = [axis for axis in range(x.dim()) if axis not in axes and x.shape[axis] > 1]
    if x.numel() <= PART or not kept:
        yield x, out
        return
    axis = max(kept, key=lambda each: x.stride(each))
    size = max(PART * x.shape[axis] // x.numel(), 1)
    yield from zip(x.split(size, axis), out.split(size, axis), strict=True)
