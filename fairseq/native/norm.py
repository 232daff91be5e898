"""Layer normalisation (Ba et al., arXiv:1607.06450) of residual + dropout(x) in one pass each way (`norm.cpp`).

    s = residual + x * noise,   n = (s - mean s) / sqrt(var s + eps),   y = n * weight + bias            by row
    h = dL/dy * weight,   dL/dresidual = (h - mean h - n mean(h n)) / sqrt(var s + eps),   dL/dx = dL/dresidual * noise

Operation by operation these are three passes forward, and backward three more that keep s. Here n is kept, and one
number per row. Where gradients are rounded to 8 bits anyway, n is kept in 16: |n| < sqrt(C) for rows of C, so a step of
sqrt(C) / 32767 never overflows, and |error of n| <= sqrt(C) / 65534, 4.3e-4 for C = 768. n stands in dL/dweight, a sum
over rows, and in the smallest of the three terms of dL/ds, whose error is 4.3e-4 |mean(h n)|.

The minimum and maximum of y, and of dL/dx, are cached with the tensors (`minmax.py`).

Shapes: C features of a row; x and residual (..., C).
"""

import ctypes
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native import minmax
from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, is_tracing
from fairseq.native.first_order import first_order
from fairseq.native.library import library, pointer, required

_MULTIPLE = 16  # of columns


class Mask(NamedTuple):
    """Which elements dropout keeps, and by what it multiplies them: see `masks.h` and `modules/dropout.py`."""

    seed: int
    threshold: int
    noise: float


def is_available(x: Tensor, residual: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> bool:
    """Whether `add_and_normalize` takes them: fp32 on the CPU, rows of a multiple of 16, and a compiler was there."""
    if is_tracing() or torch._C._are_functorch_transforms_active() or weight is None or bias is None:
        return False
    is_fp32 = all(part.dtype == torch.float32 and part.device.type == "cpu" for part in (x, residual, weight, bias))
    fits = weight.dim() == 1 and x.shape[-1] == weight.shape[0] and weight.shape[0] % _MULTIPLE == 0
    large = x.numel() >= MIN_KERNEL_ELEMENTS and x.shape == residual.shape
    return is_fp32 and fits and large and library("norm") is not None


def add_and_normalize(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, mask: Optional[Mask], compact: bool = False
) -> Tensor:
    """y of `x`, `residual` (..., C), `weight` and `bias` (C).

    Args:
        mask: of dropout, or None.
        compact: keep 16 bits per element for backward, see above.

    Raises:
        RuntimeError: there is no library, see `is_available`; or a gradient of its gradient is asked for.
    """
    if torch.is_grad_enabled() and any(part.requires_grad for part in (x, residual, weight, bias)):
        bits = 16 if compact else 32
        return _AddAndNormalize.apply(x, residual, weight, bias, eps, mask, bits)  # type: ignore[no-any-return, no-untyped-call]
    return _forward(x, residual, weight, bias, eps, mask, None, None)


class _AddAndNormalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, mask: Optional[Mask], bits: int
    ) -> Tensor:
        kept = torch.empty(x.shape, dtype=torch.int16 if bits == 16 else torch.float32, device="cpu")
        inverse = torch.empty(x.shape[:-1], dtype=torch.float32, device="cpu")
        ctx.save_for_backward(kept, inverse, weight)
        ctx.mask = mask
        return _forward(x, residual, weight, bias, eps, mask, kept, inverse)

    @staticmethod
    @first_order("residual and layer norm in one pass", "a forward hook on the norm makes the layer use torch's")
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        kept, inverse, weight = ctx.saved_tensors
        grad, weight = grad.float().contiguous(), weight.contiguous()
        min_max = torch.empty(2, dtype=torch.float32, device="cpu")
        grad_residual = torch.empty_like(grad)
        grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(weight)
        grad_x = None if ctx.mask is None else torch.empty_like(grad)
        _library().norm_backward(
            _mask(ctx.mask), *map(pointer, (grad, weight, inverse, kept)), ctypes.c_int32(8 * kept.element_size()),
            *map(pointer, (grad_x, grad_residual, grad_weight, grad_bias)), *_sizes(grad, min_max),
        )  # fmt: skip
        grad_x = grad_residual if grad_x is None else grad_x
        minmax.cache_minmax(grad_x, *min_max.unbind())
        return grad_x, grad_residual, grad_weight, grad_bias, None, None, None


def _forward(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, mask: Optional[Mask],
    kept: Optional[Tensor], inverse: Optional[Tensor],
) -> Tensor:  # fmt: skip
    parts = [part.contiguous() for part in (x, residual, weight, bias)]
    y, min_max = torch.empty_like(parts[0]), torch.empty(2, dtype=torch.float32, device="cpu")
    bits = 0 if kept is None else 8 * kept.element_size()
    _library().norm_forward(
        _mask(mask), *map(pointer, parts), ctypes.c_float(eps), *map(pointer, (y, kept)), ctypes.c_int32(bits),
        pointer(inverse), *_sizes(y, min_max),
    )  # fmt: skip
    minmax.cache_minmax(y, *min_max.unbind())
    return y


class _Mask(ctypes.Structure):
    """`Mask` of norm.cpp."""

    _fields_ = [("seed", ctypes.c_int64), ("noise", ctypes.c_float), ("threshold", ctypes.c_int32)]


def _mask(mask: Optional[Mask]) -> Any:
    return None if mask is None else ctypes.byref(_Mask(mask.seed, mask.noise, mask.threshold))


def _library() -> Any:
    native = required("norm", "torch's operations")
    return native


def _sizes(x: Tensor, min_max: Tensor) -> tuple[Any, ...]:
    columns = x.shape[-1]
    sizes = map(ctypes.c_int64, (x.numel() // columns, columns))
    return *sizes, pointer(min_max), ctypes.c_int64(torch.get_num_threads())
