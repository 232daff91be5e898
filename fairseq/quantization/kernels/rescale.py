"""From the int32 sums of a product of codes to its values, in one pass.

    D = sums - rows1 columns1 - rows2 columns2                           exact, modulo 2^32: what zero points contribute
    y = D scale_rows scale_columns + p1 q1 + p2 q2 + bias                 p, q: what offsets contribute (affine grids)

Vectors belong to rows (M, 1) or columns (1, N); any may be a single number (1, 1).
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native.compiled import kernel


class Offsets(NamedTuple):
    """Two products of a row and a column vector, fp32."""

    rows1: Tensor
    columns1: Tensor
    rows2: Tensor
    columns2: Tensor


def rescale(
    sums: Tensor,
    corrections: tuple[Tensor, Tensor, Tensor, Tensor],
    scale_rows: Tensor,
    scale_columns: Tensor,
    offsets: Optional[Offsets] = None,
    bias: Optional[Tensor] = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """`corrections`: rows1, columns1, rows2, columns2, int32. `bias`: (N,). Returns (M, N) in `dtype`."""
    rows, columns = sums.shape
    # full vectors: a size of 1 would be another kernel
    whole = [
        _column(corrections[0], rows), _row(corrections[1], columns),
        _column(corrections[2], rows), _row(corrections[3], columns),
        _column(scale_rows, rows), _row(scale_columns, columns),
    ]  # fmt: skip
    if offsets is not None:
        whole += [
            _column(offsets.rows1, rows), _row(offsets.columns1, columns),
            _column(offsets.rows2, rows), _row(offsets.columns2, columns),
        ]  # fmt: skip
    function: Any = _rescale if offsets is None else _rescale_with_offsets
    y: Tensor = function(sums, None if bias is None else bias.float().view(1, -1), dtype, *whole)
    return y


def _column(vector: Tensor, rows: int) -> Tensor:
    return vector.expand(rows, 1).contiguous()


def _row(vector: Tensor, columns: int) -> Tensor:
    return vector.expand(1, columns).contiguous()


@kernel
def _rescale(
    sums: Tensor, bias: Optional[Tensor], dtype: torch.dtype,
    rows1: Tensor, columns1: Tensor, rows2: Tensor, columns2: Tensor, scale_rows: Tensor, scale_columns: Tensor,
) -> Tensor:  # fmt: skip
    y = (sums - rows1 * columns1 - rows2 * columns2).float() * scale_rows * scale_columns
    return (y if bias is None else y + bias).to(dtype)


@kernel
def _rescale_with_offsets(
    sums: Tensor, bias: Optional[Tensor], dtype: torch.dtype,
    rows1: Tensor, columns1: Tensor, rows2: Tensor, columns2: Tensor, scale_rows: Tensor, scale_columns: Tensor,
    p1: Tensor, q1: Tensor, p2: Tensor, q2: Tensor,
) -> Tensor:  # fmt: skip
    y = (sums - rows1 * columns1 - rows2 * columns2).float() * scale_rows * scale_columns
    y = y + p1 * q1 + p2 * q2
    return (y if bias is None else y + bias).to(dtype)
