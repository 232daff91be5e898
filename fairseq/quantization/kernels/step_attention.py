"""Attention of one query for each row over keys and values of earlier steps (`step_attention.cpp`).

    s[t] = Q(q f) . k[t],   p = softmax(s),   y = sum over t of Q(p)[t] v[t]          for each row and head

Each step's keys and values are a slab of rows, and a table says which row of it a row of queries reads, so that beam
search moves a table and no keys. Q rounds to the grids of an attention in integers, or is nothing.

Shapes: N rows, H heads, D features of a head, T steps.

>>> k = torch.randn(3, 2, 2, 16)                                           # three steps of two rows
>>> q, places = torch.randn(2, 32), torch.tensor([[0, 0, 1], [0, 1, 1]], dtype=torch.int32)
>>> y, _ = attend(q, StepKeys(list(k), list(k), places), num_heads=2, factor=0.25)
>>> read = k[torch.arange(3), places.long()]                               # (2, 3, 2, 16)
>>> p = torch.einsum("nhd,nthd->nht", q.view(2, 2, 16) / 4, read).softmax(-1)
>>> torch.allclose(y.view(2, 2, 16), torch.einsum("nht,nthd->nhd", p, read), atol=1e-5)
True
"""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native.library import pointer
from fairseq.quantization.kernels.codes import NotANumber
from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.kernels.library import library, required

_RECORD = 8  # bytes of a head's scale and zero
_LINES = 32  # codes of 4 bits that lie together
_FLOATS, _ONE_GRID = 0, 1


class StepGrids(NamedTuple):
    """The grids, with ranges that are given, of an attention in integers."""

    query: KernelQParams
    key: KernelQParams
    value: KernelQParams
    probs: KernelQParams


class StepKeys(NamedTuple):
    """Where keys and values lie.

    Attributes:
        keys, values: a slab for each step, or one tensor for all. Slabs are fp32 (R, H, D) with rows and heads at any
            distance, codes uint8 of that shape, or records (R, H, bytes) of `encode_heads`.
        places: int32 (N, T), the row of the slab; its axis of steps may be expanded.
        hidden: bool (R, T), where the row of the first slab is not to be attended to.
        num_bits: 8 or 4 where slabs are records.
    """

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    places: Tensor
    hidden: Optional[Tensor] = None
    num_bits: Optional[int] = None


def is_available() -> bool:
    """Whether there is a library: a C++ compiler was there."""
    return library("step_attention") is not None


def attend(
    q: Tensor,
    kept: StepKeys,
    num_heads: int,
    factor: float,
    grids: Optional[StepGrids] = None,
    need_probs: bool = False,
) -> tuple[Tensor, Optional[Tensor]]:
    """The context (N, H * D), and the probabilities (H, N, T) before rounding where they are wanted.

    Args:
        q: fp32 (N, H * D).
        factor: on q.
        grids: of q, probabilities, and of keys and values, which are codes then.

    Raises:
        NotANumber: what is rounded holds NaN.
        RuntimeError: there is no library, see `is_available`.
        MemoryError: too little of it.
    """
    q = q.contiguous()
    rows, steps = q.shape[0], len(kept.keys)
    first = kept.keys[0]
    y = torch.empty(q.shape, dtype=torch.float32, device="cpu")
    probs = torch.empty(num_heads, rows, steps, dtype=torch.float32, device="cpu") if need_probs else None
    addresses = ctypes.c_void_p * steps
    hidden = None if kept.hidden is None else kept.hidden.contiguous()
    size = first.element_size()
    call = _StepAttention(
        rows, num_heads, q.shape[1] // num_heads, steps, first.stride(0) * size, first.stride(1) * size,
        pointer(q), pointer(y), pointer(probs), addresses(*[each.data_ptr() for each in kept.keys]),
        addresses(*[each.data_ptr() for each in kept.values]), pointer(kept.places), *kept.places.stride(),
        pointer(hidden), torch.get_num_threads(), factor,
        kept.num_bits or (_FLOATS if grids is None else _ONE_GRID),
    )  # fmt: skip
    if grids is not None:
        call.q, call.k, call.v, call.probs_qparams = grids
    if _native().attend_to_steps(ctypes.byref(call)):
        raise MemoryError(f"no memory for attention of {rows} rows to {steps} steps")
    if call.bad:
        raise NotANumber
    return y, probs


def encode_heads(x: Tensor, num_bits: int) -> Tensor:
    """Records, uint8 (..., bytes), of x (..., D): for each head a scale, its smallest number, and codes of 8 or 4 bits
    between its smallest and its largest number.

    >>> x = torch.randn(2, 3, 40)
    >>> (decode_heads(encode_heads(x, 8), 8, 40) - x).abs().max() < 0.02
    tensor(True)
    """
    depth, x = x.shape[-1], x.contiguous()
    size = _RECORD + (depth if num_bits == 8 else -(-depth // _LINES) * _LINES // 2)
    size += -size % 4  # scales at addresses of numbers
    records = torch.empty(*x.shape[:-1], size, dtype=torch.uint8, device="cpu")
    _native().encode_heads(
        pointer(x), *map(ctypes.c_int64, (x.numel() // depth, depth)), ctypes.c_int32(num_bits), ctypes.c_int64(size),
        pointer(records),
    )  # fmt: skip
    return records


def decode_heads(records: Tensor, num_bits: int, depth: int) -> Tensor:
    """fp32 (..., D) of records (..., bytes)."""
    numbers, codes = records[..., :_RECORD].contiguous().view(torch.float32), records[..., _RECORD:]
    if num_bits == 4:
        codes = codes[..., : -(-depth // _LINES) * _LINES // 2].unflatten(-1, (-1, _LINES // 2))
        codes = torch.stack([codes & 15, codes >> 4], dim=-2).flatten(-3)
    return codes[..., :depth].float() * numbers[..., :1] + numbers[..., 1:]


def encode_step(x: Tensor, grid: KernelQParams) -> Tensor:
    """Codes, uint8 (R, H, D), of x on a grid whose range is given.

    Raises:
        NotANumber: x holds NaN.
    """
    x = x.contiguous()
    codes = torch.empty(x.shape, dtype=torch.uint8, device="cpu")
    if _native().encode_step(pointer(x), ctypes.c_int64(x.numel()), ctypes.byref(grid), pointer(codes)):
        raise NotANumber
    return codes


def decode_step(codes: Tensor, grid: KernelQParams) -> Tensor:
    """What `encode_step` rounded x to."""
    return (codes.float() - grid.zero_point) * grid.scale + grid.offset


class _StepAttention(ctypes.Structure):
    """`StepAttention` of step_attention.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "heads", "depth", "steps", "row_bytes", "head_bytes")),
        *((name, ctypes.c_void_p) for name in ("queries", "y", "weights")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("keys", "values")),
        ("places", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("places_row", "places_step")),
        ("hidden", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("factor", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("storage", "bad")),
        *((name, KernelQParams) for name in ("q", "k", "v", "probs_qparams")),
    ]


def _native() -> ctypes.CDLL:
    return required("step_attention", "attention's products one by one")
