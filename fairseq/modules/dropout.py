"""Dropout that costs one pass over the values on the CPU and keeps no mask.

    y = x * noise,   noise = 1 / keep with probability keep, else 0          dL/dx = dL/dy * noise

torch draws one double per element there (6 ns) and keeps the mask for backward. Here the element's index decides:

    u(i) = bits 16 (i mod 4) .. 16 (i mod 4) + 15 of mix(seed + floor(i / 4) * golden)      mix: SplitMix64's finalizer

so that the backward pass computes the mask again. u >= threshold keeps an element with probability
keep = 1 - round(p * 2^16) / 2^16, within 2^-17 of 1 - p; dividing by that very number keeps the expectation of y exact.
The 64-bit seed is one draw from torch's generator: a seed gives the same masks again, with and without a compiler for
`native/src/dropout.cpp`.

>>> _ = torch.manual_seed(0)
>>> y = dropout(torch.ones(1000), 0.25)
>>> y.unique()
tensor([0.0000, 1.3333])
"""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.native import minmax
from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, is_tracing
from fairseq.native.library import library
from fairseq.native.norm import Mask

_LEVELS = 2**16
_GOLDEN, _FIRST, _SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_NATIVE = {torch.float32: "drop_float", torch.bfloat16: "drop_bfloat16"}


def dropout(x: Tensor, p: float, inplace: bool = False) -> Tensor:
    """`x` with each element zero with probability `p`, the others divided by 1 - p."""
    dropped = share_dropped(p)
    if x.device.type != "cpu" or not dropped or torch.compiler.is_compiling():
        return F.dropout(x, p, True, inplace)
    seed = draw_seed()
    if inplace or is_tracing():  # tracing and hooks see the ordinary PyTorch operations
        noise = _noise(x, dropped, seed)
        return x.mul_(noise) if inplace else x * noise
    y: Tensor = _Dropout.apply(x, dropped, seed)  # type: ignore[no-untyped-call]
    return y


def share_dropped(p: float) -> int:
    """How many of 2^16 elements are zero; 0 where that is none or all, which needs no mask."""
    return round(p * _LEVELS) % _LEVELS


def draw_seed() -> Tensor:
    """What one call's masks are made from, int64 (): one draw from torch's generator."""
    return torch.empty((), dtype=torch.int64).random_(-(2**63), None)


def mask_of(dropped: int) -> Mask:
    """What `_Dropout` draws and multiplies fp32 by, for kernels that drop elements as part of something else."""
    return Mask(int(draw_seed()), dropped - _LEVELS // 2, _LEVELS / (_LEVELS - dropped))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int, seed: Tensor) -> Tensor:
        ctx.dropped, ctx.seed = dropped, seed
        native = library("dropout") if x.dtype in _NATIVE and x.numel() >= MIN_KERNEL_ELEMENTS else None
        if native is None:
            return x * _noise(x, dropped, seed)
        x = x.contiguous()
        y, min_max = torch.empty_like(x), torch.empty(2, dtype=torch.float32, device="cpu")
        scale = torch.tensor(_LEVELS / (_LEVELS - dropped), dtype=x.dtype)  # rounded as `_noise` rounds it
        getattr(native, _NATIVE[x.dtype])(
            ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), ctypes.c_int64(x.numel()),
            ctypes.c_int64(int(seed)), ctypes.c_int16(dropped - _LEVELS // 2), ctypes.c_float(float(scale)),
            ctypes.c_void_p(min_max.data_ptr()), ctypes.c_int64(torch.get_num_threads()),
        )  # fmt: skip
        if x.dtype == torch.float32:
            minmax.cache_minmax(y, *min_max.unbind())
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Dropout.apply(grad, ctx.dropped, ctx.seed), None, None  # type: ignore[no-untyped-call]


def _noise(x: Tensor, dropped: int, seed: Tensor) -> Tensor:
    """The factors of `x`, in its type."""
    count = x.numel()
    state = torch.arange((count + 3) // 4).mul_(_GOLDEN).add_(seed)
    # tensors have only the arithmetic shift: mask off the copies of the sign bit
    state.bitwise_xor_((state >> 30).bitwise_and_(2**34 - 1)).mul_(_FIRST)
    state.bitwise_xor_((state >> 27).bitwise_and_(2**37 - 1)).mul_(_SECOND)
    state.bitwise_xor_((state >> 31).bitwise_and_(2**33 - 1))
    uniform = state.view(torch.int16)[:count].view(x.shape)  # each of the 2^16 values equally likely
    noise = torch.empty(x.shape, dtype=x.dtype)
    torch.ge(uniform, dropped - _LEVELS // 2, out=noise)  # writes 1 or 0, with no boolean in between
    return noise.mul_(_LEVELS / (_LEVELS - dropped))
