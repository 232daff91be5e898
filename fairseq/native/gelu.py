"""GELU (Hendrycks & Gimpel, arXiv:1606.08415), exact, in one pass forward and one backward (`gelu.cpp`).

    y = x Phi(x),   dL/dx = dL/dy s,   s = Phi(x) + x phi(x)                       -0.129 < s < 1.129

Backward needs x, or s. Where the gradient is rounded to 8 bits anyway, s is kept as a multiple of 2^-14 in 16 bits,
which takes half the memory of x and less time. |error of s| <= 2^-15, so |error of dL/dx| <= 3.1e-5 |dL/dy|; steps of a
gradient's 8-bit grid are 1/127 of its largest value.

Values agree with torch's to 2e-7 of the largest one. The minimum and maximum of y, and of dL/dx, are cached with
the tensors (`minmax.py`).

>>> gelu(torch.tensor([-1.0, 0.0, 1.0]))
tensor([-0.1587,  0.0000,  0.8413])
"""

import ctypes
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native import minmax
from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, is_tracing
from fairseq.native.first_order import first_order
from fairseq.native.library import library, pointer

_STEPS = 2**14  # steps of s per unit
_NAN = -(2**15)  # code of a NaN slope


def gelu(x: Tensor, compact: bool = False) -> Tensor:
    """GELU of `x`. `compact`: keep 16 bits per element for backward, see above; for fp32 of 2^16 elements and more."""
    if not is_large(x):
        return F.gelu(x)
    native = kernels(x)
    keeps = x.requires_grad and torch.is_grad_enabled()
    if not keeps:
        return F.gelu(x) if native is None else _forward(native, x.contiguous(), None)
    if compact:
        return _CompactGelu.apply(x)  # type: ignore[no-any-return, no-untyped-call]
    return F.gelu(x) if native is None else _Gelu.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _forward(kernels(x), x.contiguous(), None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled() or grad.dtype != torch.float32:  # torch computes second derivatives
            return torch.ops.aten.gelu_backward(grad, x)  # type: ignore[no-any-return]
        native: Any = kernels(x)
        return _backward(native.gelu_backward, grad.contiguous(), x.contiguous())


class _CompactGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        native, x = kernels(x), x.contiguous()
        if native is None:
            y, slopes = F.gelu(x), _coded(torch.ops.aten.gelu_backward(torch.ones_like(x), x))
        else:
            slopes = torch.empty(x.shape, dtype=torch.int16, device=x.device)
            y = _forward(native, x, slopes)
        ctx.save_for_backward(slopes)
        return y

    @staticmethod
    @first_order("GELU with compact slopes", "call the model in full precision (num_bits=0)")
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (slopes,) = ctx.saved_tensors
        native = kernels(grad)
        if native is None or grad.dtype != torch.float32:
            return grad * _decoded(slopes)
        return _backward(native.gelu_backward_slopes, grad.contiguous(), slopes)


def is_large(x: Tensor) -> bool:
    """Whether `x` is fp32, large enough for a kernel, and operations are neither traced nor transformed."""
    return not is_tracing() and not _is_transformed() and x.dtype == torch.float32 and x.numel() >= MIN_KERNEL_ELEMENTS


def kernels(x: Tensor) -> Optional[ctypes.CDLL]:
    """The library of `gelu.cpp`, where it is faster than torch's own operations on the device of `x`."""
    native = library("gelu") if x.device.type == "cpu" else None
    return native if native is not None and native.gelu_pays() else None


def _is_transformed() -> bool:
    """Whether functorch (vmap, jvp, ...) is active, which handles torch's operations only."""
    return torch._C._are_functorch_transforms_active()


def _forward(native: Any, x: Tensor, slopes: Optional[Tensor]) -> Tensor:
    y, min_max = torch.empty_like(x), torch.empty(2, dtype=torch.float32, device="cpu")
    native.gelu_forward(*map(pointer, (x, y, slopes)), *sizes(x, min_max))
    minmax.cache_minmax(y, *min_max.unbind())
    return y


def _backward(kernel: Any, grad: Tensor, kept: Tensor) -> Tensor:
    out, min_max = torch.empty_like(grad), torch.empty(2, dtype=torch.float32, device="cpu")
    kernel(*map(pointer, (grad, kept, out)), *sizes(grad, min_max))
    minmax.cache_minmax(out, *min_max.unbind())
    return out


def sizes(x: Tensor, min_max: Tensor) -> tuple[Any, ...]:
    return ctypes.c_int64(x.numel()), pointer(min_max), ctypes.c_int64(torch.get_num_threads())


def _coded(slopes: Tensor) -> Tensor:
    return (slopes * _STEPS).round_().nan_to_num_(nan=_NAN).to(torch.int16)


def _decoded(slopes: Tensor) -> Tensor:
    return torch.where(slopes == _NAN, torch.nan, slopes.float() / _STEPS)
