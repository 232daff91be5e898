"""Matrix products of codes with the result in floating point, in one call of our own C++ (`gemm.cpp`).

    y[m, n] = sum_k a[m, k] b[n, k] + bias[n]         a = sa (ca - za) + da by row, b = sb (cb - zb) + db by column of y

The sums are exact integers; zero points, scales, offsets and bias are applied while the sums are in registers. The
right operand is packed once (`PackedOperand`) in the order in which the instructions read it. They need int8 dot
products (AVX512-VNNI or AVX-VNNI) and a C++ compiler (`can_run`); with AMX, oneDNN's GEMM is faster (`is_preferred`).

Shapes: M rows of y and of a, N columns of y and rows of b, K the contraction.

>>> from fairseq.quantization.kernels.codes import QuantizedMatrix, decode
>>> data = torch.tensor([[0, 3], [1, 2]], dtype=torch.uint8)
>>> codes = QuantizedMatrix(data, torch.tensor([[0.5]]), torch.tensor([[1]], dtype=torch.int32), None, 2)
>>> y = product(data, CodeQParams.of(codes), PackedOperand.of(data), CodeQParams.of(codes, less=128))
>>> y.equal(decode(codes) @ decode(codes).t())
True
"""

import ctypes
import functools
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor

from fairseq.native import minmax
from fairseq.native.compiled import is_tracing
from fairseq.native.library import pointer
from fairseq.quantization.kernels.codes import QuantizedMatrix
from fairseq.quantization.kernels.library import library

MIN_MACS = 2**20  # multiply-accumulates of a product; for fewer no compiler is started


@functools.cache
def _panel_columns() -> int:
    """Columns that are packed together; 0 where there is no kernel for this processor."""
    native = library("gemm")
    if native is None:
        return 0
    native.panel_columns.restype = ctypes.c_int64
    return int(native.panel_columns())


def can_run(device: torch.device) -> bool:
    """Whether `product` can be called: a CPU with int8 dot products, and a C++ compiler was there."""
    return device.type == "cpu" and _panel_columns() > 0


def is_preferred(device: torch.device, work: Optional[int] = None) -> bool:
    """Whether `product` is the fastest choice for `work` multiply-accumulates.

    Not with AMX, where oneDNN's GEMM is faster, not below MIN_MACS, and not while operations are traced.
    """
    enough = work is None or work >= MIN_MACS
    return enough and not is_tracing() and not has_amx() and can_run(device)


def has_amx() -> bool:
    """Whether this processor multiplies tiles of int8 codes in one instruction."""
    return torch.cpu._is_amx_tile_supported()


class CodeQParams(NamedTuple):
    """How the codes of an operand become values: one number for all rows of the operand, or one for each."""

    scale: Tensor
    zero_point: Tensor
    offset: Optional[Tensor]

    @classmethod
    def of(cls, codes: QuantizedMatrix, less: int = 0) -> "CodeQParams":
        """Those of `codes` after `less` has been subtracted from each code."""
        return cls(codes.scale, codes.zero_point - less if less else codes.zero_point, codes.offset)


class DepthQParams(NamedTuple):
    """Zero points and offsets that change along the contraction: b = scale * (code - zero_point[k] + offset[k])."""

    zero_point: Tensor
    offset: Optional[Tensor]


class PackedOperand(NamedTuple):
    """Codes (N, K) of the right operand, in int8.

    Attributes:
        data: packed, see pack.h.
        sums: int32 (N), over the contraction.
        depth: K.
    """

    data: Tensor
    sums: Tensor
    depth: int

    @classmethod
    def empty(cls, columns: int, depth: int) -> "PackedOperand":
        """Memory for codes."""
        width = _panel_columns()
        size = -(-columns // width) * width * (-(-depth // 4) * 4)
        codes = torch.empty(size, dtype=torch.int8, device="cpu")
        return cls(codes, torch.empty(columns, dtype=torch.int32, device="cpu"), depth)

    @classmethod
    def of(cls, codes: Tensor) -> "PackedOperand":
        """From codes (N, K) in int8; or in uint8, from which 128 is subtracted: subtract it from zero points, too."""
        columns, depth = codes.shape
        made = cls.empty(columns, depth)
        codes = _with_unit_stride(codes)
        flip = 0x80 if codes.dtype == torch.uint8 else 0
        _native().pack_codes(
            pointer(codes), *map(ctypes.c_int64, (*codes.stride(), columns, depth)), ctypes.c_int32(flip),
            pointer(made.data), pointer(made.sums), ctypes.c_int64(torch.get_num_threads()),
        )  # fmt: skip
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return self.sums.numel(), self.depth

    def codes(self) -> Tensor:
        """int8 (N, K)."""
        columns, depth = self.shape
        panels = self.data.view(-1, -(-depth // 4), _panel_columns(), 4)
        return panels.transpose(1, 2).reshape(-1, panels.shape[1] * 4)[:columns, :depth].contiguous()


def product(
    left: Tensor,
    left_qparams: CodeQParams,
    right: PackedOperand,
    right_qparams: Union[CodeQParams, "OperandQParams"],
    bias: Optional[Tensor] = None,
    left_sums: Optional[Tensor] = None,
    read_later: bool = False,
    depth_qparams: Optional["DepthQParams"] = None,
) -> Tensor:
    """fp32 (M, N), whose minimum and maximum are cached (`minmax.py`).

    Args:
        left: uint8 (M, K), one of whose axes has stride 1; K <= torch_gemm.MAX_DEPTH.
        left_qparams, right_qparams: by row and by column of y.
        bias: fp32 (N).
        left_sums: int32, sums of `left` over K, if they are known.
        read_later: write past the CPU's caches, and cache no minimum and maximum.
        depth_qparams: for b with zero points that change along K; b has no other offset then, and `left` is copied to
            row order if needed.

    Raises:
        RuntimeError: there is no kernel, see `can_run`.
        MemoryError: too little of it.
    """
    (rows, depth), columns = left.shape, right.shape[0]
    left = _with_unit_stride(left) if depth_qparams is None else left.contiguous().view(left.shape)
    y = torch.empty(rows, columns, dtype=torch.float32, device="cpu")
    min_max = None if read_later else torch.empty(2, dtype=torch.float32, device="cpu")
    if not isinstance(right_qparams, OperandQParams):
        right_qparams = OperandQParams.of(right_qparams, right.sums)
    sides = [OperandQParams.of(left_qparams, left_sums), right_qparams]
    failed = _native().multiply_codes(
        pointer(left), *map(ctypes.c_int64, left.stride()), ctypes.byref(sides[0]), pointer(right.data),
        ctypes.byref(sides[1]), None if depth_qparams is None else ctypes.byref(_DepthQParams.of(depth_qparams)),
        pointer(bias), pointer(y), *map(ctypes.c_int64, (rows, columns, depth)), ctypes.c_int32(read_later),
        pointer(min_max), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for a product {rows}x{depth}x{columns}")
    if min_max is not None:
        minmax.cache_minmax(y, *min_max.unbind())
    return y


class OperandQParams(ctypes.Structure):
    """`OperandQParams` of gemm.cpp: `CodeQParams` with the sums of the codes, prepared for several products."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("scale", "zero_point", "offset", "sums")),
        ("each", ctypes.c_int64),
    ]

    @classmethod
    def of(cls, qparams: CodeQParams, sums: Optional[Tensor]) -> "OperandQParams":
        count = max(part.numel() for part in qparams if part is not None)
        parts = [part if part is None else _expand(part, count) for part in (*qparams, sums)]
        made = cls(*(None if part is None else part.data_ptr() for part in parts), int(count > 1))
        made.kept = parts  # keeps the tensors alive while C++ has their addresses
        return made


class _DepthQParams(ctypes.Structure):
    """`DepthQParams` of gemm.cpp."""

    _fields_ = [("zero_point", ctypes.c_void_p), ("offset", ctypes.c_void_p)]

    @classmethod
    def of(cls, depth_qparams: DepthQParams) -> "_DepthQParams":
        parts = [None if part is None else part.contiguous() for part in depth_qparams]
        made = cls(*(None if part is None else part.data_ptr() for part in parts))
        made.kept = parts
        return made


def _expand(part: Tensor, count: int) -> Tensor:
    return part.contiguous() if part.numel() >= count else part.expand(count, 1).contiguous()


def _with_unit_stride(codes: Tensor) -> Tensor:
    # torch lets an axis of size 1 have any stride; the view has those of a contiguous tensor
    if codes.is_contiguous():
        return codes.view(codes.shape)
    return codes if 1 in codes.stride() else codes.contiguous()


def _native() -> ctypes.CDLL:
    native = library("gemm")
    if native is None or _panel_columns() == 0:
        raise RuntimeError("no kernel for products of codes on this machine; use kernels.torch_gemm")
    return native
