"""Fake quantization in one pass: a format's own operations, compiled with the rounding noise by torch.compile.

Eagerly, rounding a tensor is five to ten passes over memory and as many parallel regions. Compiled they are one: C++ on
a CPU, Triton on a GPU. The numbers are the same to the last bit. Sizes and bits are symbolic, so that neither a ragged
batch nor a new precision compiles anything; what is compiled is kept on disk by torch.

Compiling takes seconds, so a kernel is compiled once so much has been rounded eagerly that it pays: a short run,
or the evaluation of a small model, does not wait for a compiler.

Kernels are for large tensors in memory order, seen as a matrix (rows, columns) with a scale for all, per row or per
column. Everything else, and every tensor on a machine without a compiler, takes the eager way.
"""

import functools
import logging
import types
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor
from torch.utils import _python_dispatch

from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, calls_are_seen
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.rounding.noise import SPREAD, HashNoise

logger = logging.getLogger(__name__)

BREAK_EVEN = 2**29  # values of one variant: rounding them eagerly costs about as much more as compiling


class TracedNoise:
    """`HashNoise` on (rows, columns) as plain tensor operations."""

    def __init__(self, row_hashes: Tensor, column_hashes: Tensor):
        self.row_hashes, self.column_hashes = row_hashes, column_hashes

    def add_to(self, x: Tensor) -> Tensor:
        integers = torch.bitwise_xor(self.row_hashes[:, None], self.column_hashes) * SPREAD
        return x.add_(integers.to(x.dtype), alpha=2.0**-32)


def _plain(number_format: NumberFormat, x: Tensor, qparams: tuple[Tensor, ...], out: Tensor, clamp: bool) -> None:
    out.copy_(number_format.fake_quantize(x, QParams(*qparams), None, None, clamp))


def _noisy(
    number_format: NumberFormat, x: Tensor, qparams: tuple[Tensor, ...], out: Tensor, rows: Tensor, columns: Tensor
) -> None:
    out.copy_(number_format.fake_quantize(x, QParams(*qparams), TracedNoise(rows, columns), None, True))


@functools.cache
def _compiled(function: Callable[..., None], variant: tuple[Any, ...]) -> Callable[..., None]:
    """`function` compiled for one variant: format, shape of the scale, clamping."""
    # torch counts recompilations per code object, and gives up after a few: a code object for each variant
    own = types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, dynamic=True)


@functools.lru_cache(maxsize=64)
def _bounds(low: int, high: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Smallest and largest code as tensors: as numbers they would be compiled in."""
    return torch.tensor(float(low), device=device), torch.tensor(float(high), device=device)


def fake_quantize(
    context: QuantizationContext,
    number_format: NumberFormat,
    x: Tensor,
    qparams: QParams,
    noise: Optional[HashNoise],
    out: Tensor,
    clamp: bool,
) -> bool:
    """Write the rounded `x` to `out` and return True; False, having done nothing, where no kernel fits.

    A compiler that fails is reported once, and `context.fused` is switched off.
    """
    if x.numel() < MIN_KERNEL_ELEMENTS or x.dtype != torch.float32 or out.dtype != torch.float32:
        return False
    traced = _python_dispatch._get_current_dispatch_mode() is not None  # somebody looks at every operation
    if traced or calls_are_seen() or torch.is_inference_mode_enabled() or torch.compiler.is_compiling():
        return False
    views = _as_matrices(x, out, qparams.scale, qparams.zero_point, in_order=noise is not None)
    if views is None:
        return False
    matrix, target, scale, zero_point = views
    arguments = (scale, zero_point, *_bounds(qparams.quant_min, qparams.quant_max, x.device))
    variant = (number_format, scale.shape[0] > 1, scale.shape[1] > 1, clamp, noise is not None, x.device.type)
    context.rounded[variant] += x.numel()
    if context.rounded[variant] < BREAK_EVEN:
        return False
    try:
        if noise is None:
            _compiled(_plain, variant)(number_format, matrix, arguments, target, clamp)
        else:
            kernel = _compiled(_noisy, variant)
            kernel(number_format, matrix, arguments, target, noise.row_hashes, noise.column_hashes)
    except Exception as error:  # a missing or broken compiler has many faces
        logger.warning(
            "quantization: no compiled kernels, rounding eagerly (%s)", str(error).strip().partition("\n")[0]
        )
        context.fused = False
        return False
    return True


def _as_matrices(
    x: Tensor, out: Tensor, scale: Tensor, zero_point: Tensor, in_order: bool
) -> Optional[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """All four as matrices that broadcast, or None. `in_order`: rows and columns must be those of the noise."""
    if scale.numel() == 1 and not in_order and not x.is_contiguous():
        # one scale for all: any order of the axes will do, so take that of memory
        strides = x.stride()
        axes = sorted(range(x.dim()), key=lambda axis: -strides[axis])
        x, out = x.permute(axes), out.permute(axes)
    if x.dim() == 0 or not (x.is_contiguous() and out.is_contiguous()):
        return None
    columns = x.shape[-1]
    rows = x.numel() // columns
    if rows < 2 or columns < 2:
        return None
    shape = _scale_shape(scale, x)
    if shape is None:
        return None
    return x.view(rows, columns), out.view(rows, columns), scale.reshape(shape), zero_point.reshape(shape)


def _scale_shape(scale: Tensor, x: Tensor) -> Optional[tuple[int, int]]:
    """The scale's shape beside the matrix: one for all, one per row, one per column."""
    if scale.numel() == 1:
        return 1, 1
    if scale.dim() == x.dim() and scale.shape[-1] == 1 and scale.shape[:-1] == x.shape[:-1]:
        return scale.numel(), 1
    if scale.shape[-1] == x.shape[-1] == scale.numel():
        return 1, scale.numel()
    return None


def clear() -> None:
    """Forget what has been compiled in this process (what is on disk stays)."""
    _compiled.cache_clear()
