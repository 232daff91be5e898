"""Attention's core on codes, all heads in one call (`heads.cpp`), and the C structures that it takes.

    forward     scale q, codes of q, k and v, QK^T, mask, softmax, dropout, codes of the probabilities, PV
    backward    codes of the gradient, gradient of v, of the probabilities, of the scores, their codes, those of q and k

A quantizer is passed as `KernelQParams`: format, bits, and range, which is computed here where it is not
given. Scales and codes equal those of the quantizer's own modules to the last bit, as do dropout's masks; softmax is
within 1e-6.

Shapes: B batch times heads, T queries, S keys, D features of q and k, E features of v.
"""

import ctypes
from typing import Optional

import torch
from torch import Tensor

from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, is_tracing
from fairseq.quantization.kernels.codes import codes_per_byte
from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.kernels.library import library, required
from fairseq.quantization.kernels.torch_gemm import MAX_DEPTH


class Matrices(ctypes.Structure):
    """fp32 matrices (B, rows, columns), whose last axis has stride 1."""

    _fields_ = [("data", ctypes.c_void_p), ("matrix", ctypes.c_int64), ("row", ctypes.c_int64)]

    @classmethod
    def of(cls, x: Optional[Tensor]) -> "Matrices":
        return cls(None, 0, 0) if x is None else cls(x.data_ptr(), x.stride(0), x.stride(1))


class Attention(ctypes.Structure):
    """`Attention` of heads.cpp: shapes, memory and quantizers of one call. The caller keeps the tensors alive."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("count", "heads", "queries", "keys", "depth", "width")),
        *((name, Matrices) for name in ("q", "k", "v", "y", "grad_y", "grad_q", "grad_k", "grad_v")),
        ("mask", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("mask_batch", "mask_row")),
        *((f"{name}_codes", ctypes.c_void_p) for name in ("q", "k", "v", "probs")),
        ("scratch", ctypes.c_void_p),
        ("seed", ctypes.c_uint64),
        ("threads", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("factor", "y_low", "y_high")),
        *((name, ctypes.c_int32) for name in ("dropped", "bad")),
        *((f"{name}_qparams", KernelQParams) for name in ("q", "k", "v", "probs", "grad_y", "grad_scores")),
    ]

    def set_mask(self, mask: Optional[Tensor]) -> None:
        """A mask (B or 1, 1, T or 1, S) that is added to the scores of all heads of a sentence."""
        if mask is None:
            return
        self.mask = mask.data_ptr()
        self.mask_batch, _, self.mask_row, _ = (
            0 if size == 1 else stride for size, stride in zip(mask.shape, mask.stride(), strict=True)
        )

    def kept_bytes(self, name: str) -> int:
        """Bytes of the codes of q, k, v or probs."""
        rows = self.queries if name in ("q", "probs") else self.keys
        columns = {"q": self.depth, "k": self.depth, "v": self.width, "probs": self.keys}[name]
        per_byte = codes_per_byte(getattr(self, f"{name}_qparams").num_bits)
        return int(self.count * -(-rows * columns // per_byte))

    def run(self, which: str) -> None:
        """`forward` or `backward`.

        Raises:
            RuntimeError: there is no library, see `is_available`.
            MemoryError: too little of it.
        """
        native = required("heads", "attention's products one by one")
        self.threads = torch.get_num_threads()
        if getattr(native, f"attention_{which}")(ctypes.byref(self)):
            raise MemoryError(f"no memory for attention of {self.count} heads, {self.queries} x {self.keys} scores")


def _work(q: Tensor, k: Tensor) -> int:
    few_queries = 4 * q.shape[1] <= k.shape[1]
    return k.numel() if few_queries else q.shape[0] * q.shape[1] * k.shape[1]


def is_available(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether queries (B, T, D), keys (B, S, D) and values (B, S, E) can be attended to here: not while operations are
    traced, and not below MIN_KERNEL_ELEMENTS scores, or keys where there are few queries: then reading keys is most of
    the work, as in steps of decoding.
    """
    if not all(x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 3 for x in (q, k, v)):
        return False
    if _work(q, k) < MIN_KERNEL_ELEMENTS or max(*q.shape[1:], *k.shape[1:], v.shape[2]) > MAX_DEPTH:
        return False
    if q.shape[2] == 0 or v.shape[2] == 0 or is_tracing():
        return False
    return library("heads") is not None
