"""Scales as files keep them: what a format makes of them, and those of fewer than 8 bits packed by rows.

>>> from fairseq.quantization.formats import build_format
>>> number_format, shapes = build_format({"format": "block_fp", "exponent_bits": 5}), [(2, 6, 1)]
>>> scales = [torch.arange(12, dtype=torch.uint8).view(2, 6, 1)]
>>> packed = pack_scales(number_format, scales)
>>> packed[0].shape, packed_layout(number_format, shapes)                        # 30 bits a row
(torch.Size([2, 4]), [(torch.uint8, (2, 4))])
>>> torch.equal(unpack_scales(number_format, packed, shapes)[0], scales[0])
True
"""

import math
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats import NumberFormat
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.kernels.packing import pack_codes, row_bytes, unpack_codes

Shapes = Sequence[tuple[int, ...]]


def pack_scales(number_format: NumberFormat, scales: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Scales that a format keeps in fewer than 8 bits (a byte each) in as many: (rows, bytes); others as they are."""
    width = number_format.scale_bits
    return tuple(
        pack_codes(part.reshape(part.shape[0], -1), width) if _is_packed(part.dtype, width) else part
        for part in scales
    )  # fmt: skip


def unpack_scales(number_format: NumberFormat, scales: Sequence[Tensor], shapes: Shapes) -> tuple[Tensor, ...]:
    """What `pack_scales` packed; `shapes`: of the scales of each piece."""
    width, layout = number_format.scale_bits, number_format.stored_layout(shapes)
    return tuple(
        unpack_codes(part, width, math.prod(shape[1:])).view(shape) if _is_packed(dtype, width) else part
        for part, (dtype, shape) in zip(scales, layout, strict=True)
    )


def packed_layout(number_format: NumberFormat, shapes: Shapes) -> list[tuple[torch.dtype, tuple[int, ...]]]:
    """Types and shapes of what `pack_scales` makes."""
    width = number_format.scale_bits
    return [
        (dtype, (shape[0], row_bytes(math.prod(shape[1:]), width)) if _is_packed(dtype, width) else shape)
        for dtype, shape in number_format.stored_layout(shapes)
    ]


def _is_packed(dtype: torch.dtype, width: int) -> bool:
    return dtype == torch.uint8 and width < 8


def stored_zero_points(
    number_format: NumberFormat, zero_points: Sequence[Tensor], shapes: Shapes
) -> tuple[Tensor, ...]:
    """Zero points in the shapes of scales; several numbers of each lie along a last axis."""
    many = number_format.zero_points_per_range > 1
    return tuple(
        (zero.movedim(0, -1) if many else zero).reshape(shape).clone()
        for zero, (_, shape) in zip(zero_points, zero_point_layout(number_format, shapes), strict=True)
    )


def zero_points_of(
    number_format: NumberFormat, stored: Optional[Sequence[Tensor]], scales: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """What `stored_zero_points` was given; zeros where nothing is stored."""
    count = number_format.zero_points_per_range
    if stored is None:
        return tuple(scale.new_zeros((count, *scale.shape) if count > 1 else scale.shape) for scale in scales)
    return tuple(zero.movedim(-1, 0) if count > 1 else zero for zero in stored)


def zero_point_layout(number_format: NumberFormat, shapes: Shapes) -> list[tuple[torch.dtype, tuple[int, ...]]]:
    """Types and shapes of what `stored_zero_points` makes."""
    count = number_format.zero_points_per_range
    return [(torch.float32, (*shape, count) if count > 1 else shape) for shape in shapes]


def range_shapes(granularity: Granularity, shape: tuple[int, int]) -> list[tuple[int, ...]]:
    """The shape of the scales of each piece of a matrix (R, C)."""
    shapes, matrix = [], torch.empty(shape, device="meta")
    for piece in granularity.pieces(matrix):
        reduced = granularity.reduced(piece)
        shapes.append(tuple(1 if axis in reduced else size for axis, size in enumerate(piece.shape)))
    return shapes
