"""The products of a linear layer, from codes to values: y from the codes of x and w, and what gradients are formed of.

    x[m, k] = sx[m] (cx - zx[m]) + dx[m],   w[n, k] = sw[n] (cw - zw[n]) + dw[n]          d: offsets, 0 on most grids
    forward_product    y[m, n] = sum_k x[m, k] w[n, k] + bias[n]
    input_gradient, weight_gradient: by `gemm.product` or oneDNN where they can, else by
    backward_product   right_scale * sum_c g[r, c] (right[c, j] - zero_point[c] + offset[c])

The sums run over integers and are exact; zero points are subtracted with the help of sums of codes, modulo 2^32, and
only the offsets' part is computed in floating point. One scale per tensor or per row of x, one per tensor or output
channel of w.

Shapes: M rows of x (tokens), K input channels, N output channels; in `backward_product` R rows and J columns of the
result, C the contraction.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.quantization.kernels import gemm
from fairseq.quantization.kernels.codes import (
    QuantizedMatrix,
    column_sums,
    row_sums,
    signed,
    weighted_sums,
)
from fairseq.quantization.kernels.gemm import CodeQParams, DepthQParams, PackedOperand
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.kernels.rescale import Offsets, rescale
from fairseq.quantization.kernels.torch_gemm import MAX_DEPTH, integer_product, scaled_product

MIN_PRODUCT_SCALE = 1e-20  # below, the product of two scales may have no normal fp32 number


def forward_product(x: QuantizedMatrix, w: PreparedWeight, bias: Optional[Tensor], dtype: torch.dtype) -> Tensor:
    """y (M, N) from codes of x (M, K) with scales (1, 1) or (M, 1)."""
    if x.data.shape[1] <= MAX_DEPTH and gemm.is_preferred(x.data.device, x.data.numel() * w.shape[0]):
        y = gemm.product(x.data, CodeQParams.of(x), w.weight_for_forward(), w.operand_qparams(), _float(bias))
        return y.to(dtype)
    w_scale = w.scale.t()  # (1, N)
    if w.fused and x.offset is None and x.scale.numel() == 1 and float(x.scale) > MIN_PRODUCT_SCALE:
        scale = x.scale * w_scale
        return scaled_product(x.data, int(x.zero_point), scale, w.forward_operand(), _float(bias), dtype)
    depth = x.data.shape[1]
    if depth > MAX_DEPTH:
        return _long_forward(x, w, bias, dtype)
    sums = integer_product(x.data, w.data.t())
    x_sums, w_sums = row_sums(x.data), w.sums().t()
    w_zero = w.zero_point.t()
    # (cx - zx)(cw - zw) = cx cw - (sum cx - K zx) zw - zx sum cw
    corrections = (x_sums - depth * x.zero_point, w_zero, x.zero_point, w_sums)
    offsets = None
    if x.offset is not None or w.offset is not None:
        x_offset, w_offset = _or_zero(x.offset, x.scale), _or_zero(w.offset, w.scale).t()
        x_part = (x_sums - depth * x.zero_point) * x.scale  # sum of sx (cx - zx)
        w_part = (w_sums - depth * w_zero) * w_scale + depth * w_offset
        offsets = Offsets(x_part, w_offset, x_offset, w_part)
    return rescale(sums, corrections, x.scale, w_scale, offsets, _float(bias), dtype)


def _long_forward(x: QuantizedMatrix, w: PreparedWeight, bias: Optional[Tensor], dtype: torch.dtype) -> Tensor:
    """The same in pieces of the contraction, added in fp32."""
    total: Optional[Tensor] = None
    for start in range(0, x.data.shape[1], MAX_DEPTH):
        piece = slice(start, start + MAX_DEPTH)
        part_w = w.piece(piece)
        part_x = x._replace(data=x.data[:, piece].contiguous())
        part = forward_product(part_x, part_w, bias if start == 0 else None, torch.float32)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total.to(dtype)


def input_gradient(grad: QuantizedMatrix, w: PreparedWeight, grad_w_scale: Tensor) -> Tensor:
    """dL/dx (M, K) from codes of a gradient (M, N) that holds w's scales but for `grad_w_scale` (1, 1)."""
    offset = None if w.offset is None else w.offset / w.scale
    if w.shape[0] <= MAX_DEPTH and gemm.is_preferred(grad.data.device, grad.data.numel() * w.shape[1]):
        if w.is_centred() or w.scale.numel() == 1:
            same = CodeQParams(grad_w_scale, w.zero_point[:1], None if offset is None else offset * grad_w_scale)
            return gemm.product(grad.data, CodeQParams.of(grad), w.weight_for_grad_input(), same)
        zero = CodeQParams(grad_w_scale, torch.zeros_like(w.zero_point[:1]), None)
        depth_qparams = DepthQParams(w.zero_point, offset)
        return gemm.product(
            grad.data, CodeQParams.of(grad), w.weight_for_grad_input(), zero, depth_qparams=depth_qparams
        )
    if w.fused and grad.offset is None and float(grad.scale) > MIN_PRODUCT_SCALE:
        scale = grad.scale * grad_w_scale
        return scaled_product(grad.data, int(grad.zero_point), scale, w.backward_operand(), None, torch.float32)
    return backward_product(grad, False, w.data, w.zero_point, offset, grad_w_scale)


def weight_gradient(
    grad: QuantizedMatrix,
    x: QuantizedMatrix,
    grad_x_scale: Tensor,
    sums: Tensor,
    signed_x: Optional[tuple[Tensor, Tensor]] = None,
) -> Tensor:
    """dL/dw (N, K) from codes of x (M, K) and of a gradient (M, N) that holds x's scales but for `grad_x_scale` (1, 1).

    Args:
        sums: of the gradient's codes over the rows, int32 (1, N).
        signed_x: `signed(x)`, if it is known.
    """
    work = grad.data.numel() * x.data.shape[1]
    if x.data.shape[0] <= MAX_DEPTH and x.scale.numel() == 1 and gemm.is_preferred(grad.data.device, work):
        right = PackedOperand.of(x.data.t())
        offset = None if x.offset is None else x.offset / x.scale * grad_x_scale
        numbers = CodeQParams(grad_x_scale, x.zero_point - 128, offset)
        return gemm.product(grad.data.t(), CodeQParams.of(grad), right, numbers, left_sums=sums, read_later=True)
    data, zero_point = signed_x or signed(x)
    offset = None if x.offset is None else x.offset / x.scale
    return backward_product(grad, True, data, zero_point, offset, grad_x_scale, sums)


def backward_product(
    left: QuantizedMatrix,
    transposed: bool,
    right: Tensor,
    zero_point: Tensor,
    offset: Optional[Tensor],
    right_scale: Tensor,
    left_sums: Optional[Tensor] = None,
) -> Tensor:
    """fp32 right_scale * sum_c left[r, c] (right[c, j] - zero_point[c] + offset[c]).

    Args:
        left: gradient codes, one scale; with `transposed` the rows of `data` are c.
        right: int8 (C, J).
        zero_point, offset: (C, 1) or (1, 1); the offset in units of right's scale.
        right_scale: (1, 1).
        left_sums: sums of left's codes over c, int32, (R, 1) or with `transposed` (1, R), if they are known.
    """
    depth, width = right.shape
    data = left.data.t() if transposed else left.data  # (R, C)
    if depth > MAX_DEPTH:
        total: Optional[Tensor] = None
        for start in range(0, depth, MAX_DEPTH):
            piece = slice(start, start + MAX_DEPTH)
            part = backward_product(
                left._replace(data=left.data[piece] if transposed else left.data[:, piece].contiguous()),
                transposed, right[piece], _piece(zero_point, piece), _piece(offset, piece), right_scale,
            )  # fmt: skip
            total = part if total is None else total.add_(part)
        assert total is not None
        return total
    sums = integer_product(data, right)
    axis = 0 if transposed else 1

    def over_depth(weights: Tensor) -> Tensor:
        """(R, 1) sums over c of left's codes times weights, (C, 1) or (1, 1)."""
        if weights.numel() == 1:
            unweighted = left_sums
            if unweighted is None:
                unweighted = column_sums(left.data) if transposed else row_sums(left.data)
            found = unweighted * weights
        else:
            found = weighted_sums(left.data, weights if transposed else weights.t(), axis)
        return found.t() if transposed else found

    def whole(weights: Tensor) -> Tensor:
        """The sum over c of weights, (1, 1)."""
        found = weights.sum(dtype=weights.dtype) if weights.numel() > 1 else weights * depth
        return found.view(1, 1)

    one = torch.ones_like(left.zero_point)
    right_sums = column_sums(right)  # (1, J)
    row_corrections = over_depth(zero_point) - left.zero_point * whole(zero_point)
    corrections = (row_corrections, one, left.zero_point, right_sums)
    offsets = None
    if offset is not None or left.offset is not None:
        right_offset, left_offset = _or_zero(offset, right_scale), _or_zero(left.offset, left.scale)
        rows = (over_depth(right_offset) - left.zero_point * whole(right_offset)) * left.scale * right_scale
        columns = (right_sums - whole(zero_point) + whole(right_offset)) * right_scale
        offsets = Offsets(rows, one.float(), left_offset, columns)
    return rescale(sums, corrections, left.scale, right_scale.expand(1, width), offsets)


def _or_zero(offset: Optional[Tensor], like: Tensor) -> Tensor:
    return torch.zeros_like(like) if offset is None else offset


def _piece(vector: Optional[Tensor], piece: slice) -> Any:
    return vector if vector is None or vector.numel() == 1 else vector[piece]


def _float(bias: Optional[Tensor]) -> Optional[Tensor]:
    return None if bias is None else bias.detach().float().contiguous()
