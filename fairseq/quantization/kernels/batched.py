"""Products of many small matrices of codes, as attention has them: y = a b^T in each of a batch, from integers.

    x = scale (code - zero_point) + offset                                        of a (B, M, K) and of b (B, N, K)
    y[m, n] = sum_k a[m, k] b[n, k],   dL/da = g b,   dL/db = g^T a              all three are such products

`batched.cpp` forms them with int8 dot products, zero points and scales included, in one call; torch has no such GEMM.
It needs a CPU and a C++ compiler; without one, callers decode and multiply in floating point.

Shapes: B matrices, M rows of a and of y, N rows of b and columns of y, K the contraction.

>>> from fairseq.quantization.kernels.codes import decode
>>> data = torch.tensor([[0, 3], [1, 2]], dtype=torch.uint8)
>>> codes = QuantizedMatrix(data, torch.tensor([[0.5]]), torch.tensor([[1]]), None, 2)
>>> matrices = codes.batch((1, 2, 2))
>>> batched_product(matrices, matrices)[0].equal(decode(codes) @ decode(codes).t())
True
"""

import ctypes

import torch
from torch import Tensor

from fairseq.native.compiled import is_tracing
from fairseq.quantization.kernels.codes import QuantizedMatrix
from fairseq.quantization.kernels.library import library, required
from fairseq.quantization.kernels.torch_gemm import MAX_DEPTH


def is_available(device: torch.device, longest: int) -> bool:
    """Whether `batched_product` can be used for contractions up to `longest`; not while operations are traced."""
    return device.type == "cpu" and longest <= MAX_DEPTH and not is_tracing() and library("batched") is not None


def batched_product(a: QuantizedMatrix, b: QuantizedMatrix) -> Tensor:
    """fp32 (B, M, N) of a (B, M, K) and b (B, N, K), K <= MAX_DEPTH.

    Raises:
        RuntimeError: there is no library, see `is_available`.
        MemoryError: too little of it.
    """
    native = required("batched", "decoded values")
    (batches, rows, depth), columns = a.data.shape, b.data.shape[1]
    if depth > MAX_DEPTH:
        raise ValueError(f"a contraction over {depth} codes may overflow; {MAX_DEPTH} is the most")
    y = torch.empty(batches, rows, columns, dtype=torch.float32, device="cpu")
    sides = [_Side.of(side) for side in (a, b)]  # they point into tensors of a, b and `sides`
    failed = native.coded_products(
        *(ctypes.byref(side) for side in sides), ctypes.c_void_p(y.data_ptr()),
        *map(ctypes.c_int64, (batches, depth, torch.get_num_threads())),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for a product of {batches} matrices {rows}x{depth}x{columns}")
    return y


class _Side(ctypes.Structure):
    """`Side` of batched.cpp."""

    _fields_ = [
        ("codes", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("batch", "vector", "depth", "count")),
        *((name, ctypes.c_void_p) for name in ("scale", "zero_point", "offset")),
        ("each", ctypes.c_int64),
    ]

    @classmethod
    def of(cls, codes: QuantizedMatrix) -> "_Side":
        numbers = [codes.scale.float(), codes.zero_point.int(), None if codes.offset is None else codes.offset.float()]
        kept = [None if part is None else part.contiguous() for part in numbers]
        pointers = [None if part is None else part.data_ptr() for part in kept]
        made = cls(
            codes.data.data_ptr(), *codes.data.stride(), codes.data.shape[1], *pointers, int(codes.scale.numel() > 1)
        )
        made.kept = kept
        return made
