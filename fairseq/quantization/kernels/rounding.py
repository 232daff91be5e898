"""Fake quantization in one pass: a format's own operations, compiled with the rounding noise by torch.compile.

Eagerly, rounding a tensor is five to ten passes over memory and as many parallel regions; compiled it is one pass. The
numbers are the same to the last bit. `fairseq.native.compiled` says when something is compiled.

Kernels are for large contiguous tensors, seen as a matrix (rows, columns) with one scale for all, per row or per
column. Everything else, and every tensor on a machine without a compiler, is rounded eagerly.
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.native import compiled
from fairseq.native.compiled import may_compile, run_compiled
from fairseq.quantization.cached import cached_tensors
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.kernels import levels
from fairseq.quantization.kernels.matrices import in_memory_order, scale_shape
from fairseq.quantization.observers.base import largest_magnitude
from fairseq.quantization.rounding.noise import SPREAD, HashNoise


class TracedNoise:
    """`HashNoise` on (rows, columns) as plain tensor operations."""

    def __init__(self, row_hashes: Tensor, column_hashes: Tensor):
        self.row_hashes, self.column_hashes = row_hashes, column_hashes

    def add_to(self, x: Tensor) -> Tensor:
        integers = torch.bitwise_xor(self.row_hashes[:, None], self.column_hashes) * SPREAD
        return x.add_(integers.to(x.dtype), alpha=2.0**-32)


@cached_tensors(maxsize=64)
def _bounds(low: int, high: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Smallest and largest code as tensors: as numbers they would be compiled in."""
    return torch.tensor(float(low), device=device), torch.tensor(float(high), device=device)


def _round(
    x: Tensor, number_format: NumberFormat, scale: Tensor, zero_point: Tensor, low: Tensor, high: Tensor, clamp: bool,
    row_hashes: Optional[Tensor], column_hashes: Optional[Tensor], out: Tensor,
) -> None:  # fmt: skip
    noise = None if row_hashes is None or column_hashes is None else TracedNoise(row_hashes, column_hashes)
    out.copy_(number_format.fake_quantize(x, QParams(scale, zero_point, low, high), noise, None, clamp))


def round_to_levels(
    number_format: NumberFormat, x: Tensor, qparams: QParams, noise: Optional[HashNoise], out: Tensor, clamp: bool,
    fused: bool,
) -> None:  # fmt: skip
    """Write the rounded `x` to `out`, in the fastest way there is; `fused`: torch.compile may be used."""
    if number_format.is_uniform and x.numel() < compiled.MIN_KERNEL_ELEMENTS:  # no kernel pays: ask none
        number_format.fake_quantize(x, qparams, noise, out, clamp)
        return
    if noise is None and levels.fake_quantize(number_format, x, qparams, out):
        return
    if not fused or not fake_quantize(number_format, x, qparams, noise, out, clamp):
        number_format.fake_quantize(x, qparams, noise, out, clamp)


def fake_quantize(
    number_format: NumberFormat, x: Tensor, qparams: QParams, noise: Optional[HashNoise], out: Tensor, clamp: bool
) -> bool:
    """Write the rounded `x` to `out` and return True; False, having done nothing, where no kernel fits or pays yet."""
    if not number_format.compiles or not may_compile(x) or x.dtype != torch.float32 or out.dtype != torch.float32:
        return False
    if torch.is_inference_mode_enabled():  # would be compiled once more
        return False
    views = _as_matrices(x, out, qparams.scale, qparams.zero_point, in_order=noise is not None)
    if views is None:
        return False
    matrix, target, scale, zero_point = views
    bounds = _bounds(qparams.quant_min, qparams.quant_max, x.device)
    hashes = (None, None) if noise is None else (noise.row_hashes, noise.column_hashes)
    return run_compiled(_round, (matrix, number_format, scale, zero_point, *bounds, clamp, *hashes, target))[0]


def _round_blocks(x: Tensor, number_format: NumberFormat, num_bits: int, out: Tensor) -> None:
    most = largest_magnitude(x, (1,))
    out.copy_(number_format.fake_quantize(x, number_format.qparams(-most, most, num_bits)))


def fake_quantize_blocks(
    number_format: NumberFormat, x: Tensor, num_bits: int, axes: tuple[int, ...], out: Tensor
) -> bool:
    """`fake_quantize` for blocks along the last axis that find their scales themselves.

    Args:
        x: (..., block) of a format with a rule for its scales.
        axes: that share a scale.
    """
    if not may_compile(x) or x.dtype != torch.float32 or out.dtype != torch.float32:
        return False
    in_order = axes == (x.dim() - 1,) and x.is_contiguous() and out.is_contiguous()
    if not in_order or torch.is_inference_mode_enabled():
        return False
    columns = x.shape[-1]
    return run_compiled(_round_blocks, (x.view(-1, columns), number_format, num_bits, out.view(-1, columns)))[0]


def _as_matrices(
    x: Tensor, out: Tensor, scale: Tensor, zero_point: Tensor, in_order: bool
) -> Optional[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """All four as matrices that broadcast, or None. `in_order`: rows and columns must be those of the noise."""
    if scale.numel() == 1 and not in_order:
        x, out = in_memory_order(x, out)  # one scale for all: any order of the axes will do
    if x.dim() == 0 or not (x.is_contiguous() and out.is_contiguous()):
        return None
    columns = x.shape[-1]
    rows = x.numel() // columns
    if rows < 2 or columns < 2:
        return None
    shape = scale_shape(scale, x)
    if shape is None:
        return None
    return x.view(rows, columns), out.view(rows, columns), scale.reshape(shape), zero_point.reshape(shape)
