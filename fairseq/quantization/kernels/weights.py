"""Codes of a weight with one symmetric scale per output channel, in one pass over it (`weights.cpp`).

    scale[n] = max_k |w[n, k]| / (2^(b-1) - 1),   code = round(w / scale)

Each update encodes every weight: range, codes, and their copy for the forward product. As separate kernels these are
five passes over memory, and memory bandwidth is their whole cost. The codes equal those of the format `symmetric` with
the range `minmax`, to the last bit.

Shapes: N output channels, K input channels of a weight.

>>> from fairseq.quantization.formats import build_format
>>> weight = torch.tensor([[1.0, -0.5], [0.0, 254.0]])
>>> data, transposed, scale = encode_rows(weight, 8)
>>> data.tolist(), transposed.tolist()
([[127, -64], [0, 127]], [[127, 0], [-64, 127]])
"""

import ctypes

import torch
from torch import Tensor

from fairseq.native.compiled import is_tracing
from fairseq.quantization.formats import NumberFormat
from fairseq.quantization.formats.integer.uniform import MIN_SCALE
from fairseq.quantization.kernels.gemm import PackedOperand
from fairseq.quantization.kernels.kernel_qparams import SYMMETRIC
from fairseq.quantization.kernels.library import library, required


def is_available(weight: Tensor, number_format: NumberFormat) -> bool:
    """Whether `encode_rows` takes it: contiguous fp32 on the CPU, symmetric codes, and a compiler was there."""
    if number_format.kernel_id != SYMMETRIC:
        return False
    is_matrix = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.dim() == 2
    return (
        is_matrix
        and weight.is_contiguous()
        and weight.numel() > 0
        and not is_tracing()
        and library("weights") is not None
    )


def encode_rows(weight: Tensor, num_bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Symmetric codes of `weight` (N, K) at 2 to 8 bits: int8 (N, K), the same as (K, N), scales fp32 (N, 1).

    Raises:
        RuntimeError: there is no library, see `is_available`.
    """
    native = required("weights", "kernels.codes.encode")
    rows, columns = weight.shape
    codes = (
        torch.empty(rows, columns, dtype=torch.int8, device="cpu"),
        torch.empty(columns, rows, dtype=torch.int8, device="cpu"),
        torch.empty(rows, 1, dtype=torch.float32, device="cpu"),
    )
    data, transposed, scale = (ctypes.c_void_p(part.data_ptr()) for part in codes)
    native.encode_rows(
        ctypes.c_void_p(weight.data_ptr()), *map(ctypes.c_int64, (rows, columns)),
        ctypes.c_int32(2 ** (num_bits - 1) - 1), ctypes.c_float(MIN_SCALE), data, transposed, scale,
        ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    return codes


def encode_packed(weight: Tensor, num_bits: int) -> tuple[PackedOperand, PackedOperand, Tensor]:
    """The codes of `encode_rows` packed for `gemm.product`: w (N, K) for x w^T, its transpose for g w, scales.

    Raises:
        RuntimeError: there is no library, see `is_available`.
        MemoryError: too little of it.
    """
    native = required("weights", "kernels.codes.encode")
    rows, columns = weight.shape
    forward, grad_input = PackedOperand.empty(rows, columns), PackedOperand.empty(columns, rows)
    scale = torch.empty(rows, 1, dtype=torch.float32, device="cpu")
    outputs = (forward.data, forward.sums, grad_input.data, grad_input.sums, scale)
    failed = native.encode_packed(
        ctypes.c_void_p(weight.data_ptr()), *map(ctypes.c_int64, (rows, columns)),
        ctypes.c_int32(2 ** (num_bits - 1) - 1), ctypes.c_float(MIN_SCALE),
        *(ctypes.c_void_p(part.data_ptr()) for part in outputs), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for the codes of a weight {rows}x{columns}")
    return forward, grad_input, scale
