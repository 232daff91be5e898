"""GELU (Hendrycks & Gimpel, arXiv:1606.08415), exact, in one pass forward and one backward (`gelu.cpp`).

    y = x Phi(x),   dL/dx = dL/dy s,   s = Phi(x) + x phi(x)                       -0.129 < s < 1.129

Backward needs x, or s. Where the gradient is rounded to 8 bits anyway, s is kept as a multiple of 2^-14 in 16 bits,
which takes half the memory of x and less time. |error of s| <= 2^-15, so |error of dL/dx| <= 3.1e-5 |dL/dy|; steps of a
gradient's 8-bit grid are 1/127 of its largest value.

Values agree with torch's to 2e-7 of the largest one. The range of y, and of dL/dx, is noted for whoever reads it
(`ranges.py`).

>>> gelu(torch.tensor([-1.0, 0.0, 1.0]))
tensor([-0.1587,  0.0000,  0.8413])
"""

import ctypes
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.quantization.formats import Grid, NumberFormat
from fairseq.quantization.kernels import ranges
from fairseq.quantization.kernels.build import is_watched
from fairseq.quantization.kernels.codes import base_code
from fairseq.quantization.kernels.native import library

LEAST_NATIVE = 2**16  # elements: smaller tensors start no compiler
_STEPS = 2**14  # of s, in 1
_NAN = -(2**15)  # stands for a slope that is none


def gelu(x: Tensor, compact: bool = False) -> Tensor:
    """GELU of `x`. `compact`: keep 16 bits per element for backward, see above; for fp32 of 2^16 elements and more."""
    if is_watched() or _is_transformed() or x.dtype != torch.float32 or x.numel() < LEAST_NATIVE:
        return F.gelu(x)
    native = _native(x)
    keeps = x.requires_grad and torch.is_grad_enabled()
    if not keeps:
        return F.gelu(x) if native is None else _forward(native, x.contiguous(), None)
    if compact:
        return _CompactGelu.apply(x)  # type: ignore[no-any-return, no-untyped-call]
    return F.gelu(x) if native is None else _Gelu.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def has_codes(x: Tensor, number_format: NumberFormat) -> bool:
    """Whether `range_of` and `codes_of` take `x` and that format."""
    if is_watched() or _is_transformed() or x.dtype != torch.float32 or x.numel() < LEAST_NATIVE:
        return False
    return number_format.name in ("affine_int", "symmetric", "affine") and _native(x) is not None


def range_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of GELU, where `has_codes`."""
    native, ends = _native(x), torch.empty(2, dtype=torch.float32, device="cpu")
    assert native is not None
    native.gelu_range(_pointer(x), *_sizes(x, ends))
    return ends[0], ends[1]


def codes_of(x: Tensor, number_format: NumberFormat, grid: Grid, num_bits: int, out: Tensor) -> None:
    """Write the codes of GELU of `x`, in order, from 0 to `out` (uint8), where `has_codes`; one scale for all."""
    native = _native(x)
    assert native is not None
    zero, least = grid.zero_point.float(), base_code(grid, num_bits)
    if number_format.exact_zero:  # clamped before the zero point is added: all three are whole numbers
        numbers = [0.0, float(grid.scale.reciprocal()), float(grid.low - zero), float(grid.high - zero)]
        offset = 0 if zero.isnan() else int(zero) - least
    else:
        numbers, offset = [float(part) for part in (zero, grid.scale, grid.low, grid.high)], -least
    native.gelu_codes(
        _pointer(x), _pointer(out), ctypes.c_int64(x.numel()), *map(ctypes.c_float, numbers), ctypes.c_int32(offset),
        ctypes.c_int32(not number_format.exact_zero), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _forward(_native(x), x.contiguous(), None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled() or grad.dtype != torch.float32:  # a gradient of gradients is torch's matter
            return torch.ops.aten.gelu_backward(grad, x)  # type: ignore[no-any-return]
        native: Any = _native(x)
        return _backward(native.gelu_backward, grad.contiguous(), x.contiguous())


class _CompactGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        native, x = _native(x), x.contiguous()
        if native is None:
            y, slopes = F.gelu(x), _coded(torch.ops.aten.gelu_backward(torch.ones_like(x), x))
        else:
            slopes = torch.empty(x.shape, dtype=torch.int16, device=x.device)
            y = _forward(native, x, slopes)
        ctx.save_for_backward(slopes)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (slopes,) = ctx.saved_tensors
        native = _native(grad)
        if native is None or grad.dtype != torch.float32:
            return grad * _decoded(slopes)
        return _backward(native.gelu_backward_slopes, grad.contiguous(), slopes)


def _native(x: Tensor) -> Optional[ctypes.CDLL]:
    """The kernels, where they are faster than torch's own operations."""
    native = library("gelu") if x.device.type == "cpu" else None
    return native if native is not None and native.gelu_pays() else None


def _is_transformed() -> bool:
    """Whether functorch (vmap, jvp, ...) is at work, which wants operations that it knows."""
    return torch._C._are_functorch_transforms_active()


def _forward(native: Any, x: Tensor, slopes: Optional[Tensor]) -> Tensor:
    y, ends = torch.empty_like(x), torch.empty(2, dtype=torch.float32, device="cpu")
    native.gelu_forward(*map(_pointer, (x, y, slopes)), *_sizes(x, ends))
    ranges.note(y, *ends.unbind())
    return y


def _backward(kernel: Any, grad: Tensor, kept: Tensor) -> Tensor:
    out, ends = torch.empty_like(grad), torch.empty(2, dtype=torch.float32, device="cpu")
    kernel(*map(_pointer, (grad, kept, out)), *_sizes(grad, ends))
    ranges.note(out, *ends.unbind())
    return out


def _pointer(x: Optional[Tensor]) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _sizes(x: Tensor, ends: Tensor) -> tuple[Any, ...]:
    return ctypes.c_int64(x.numel()), _pointer(ends), ctypes.c_int64(torch.get_num_threads())


def _coded(slopes: Tensor) -> Tensor:
    return (slopes * _STEPS).round_().nan_to_num_(nan=_NAN).to(torch.int16)


def _decoded(slopes: Tensor) -> Tensor:
    return torch.where(slopes == _NAN, torch.nan, slopes.float() / _STEPS)
