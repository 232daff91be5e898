"""Exact products of 8-bit codes: uint8 (M, K) times int8 (K, N).

    integer_product       int32, sum_k left[m, k] right[k, n]
    scaled_product        fp32, scale[n] sum_k (left[m, k] - zero_point) right[k, n] + bias[n], in the GEMM's epilogue

Backends, chosen once per process by what the machine has, and only after they have reproduced a product of extreme
codes:

    int8      `torch._int_mm`; the scaled form is oneDNN's quantized linear with a weight in plain row order, which
              it packs on the fly as fast as `_int_mm` does
    float     an fp32 GEMM on the codes, in pieces of the contraction so short that every sum stays below 2^24, where
              fp32 is exact: machines without integer dot products, or where those are wrong

bf16 holds the codes, too, but torch's bf16 GEMM rounds its result to bf16, which is not exact.
"""

import functools
from typing import Any, Optional

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from fairseq.quantization.cached import cached_tensors

MAX_DEPTH = 2**15  # of the contraction: |sum| stays below 2^31 also after corrections, 2^15 * 255 * 255
EXACT_FLOAT = 512  # 512 * 255 * 128 < 2^24


def integer_product(left: Tensor, right: Tensor, out: Optional[Tensor] = None) -> Tensor:
    """int32 (M, N) of uint8 `left` (M, K) and int8 `right` (K, N); either may be a transposed view; K <= MAX_DEPTH."""
    if left.shape[1] > MAX_DEPTH:
        raise ValueError(f"a contraction over {left.shape[1]} codes may overflow; cut it into pieces of {MAX_DEPTH}")
    if left.numel() == 0 or right.numel() == 0:
        return torch.zeros(left.shape[0], right.shape[1], dtype=torch.int32, device=left.device)
    return _PRODUCTS[backend(left.device.type)](left, right)


def _int8_cpu(left: Tensor, right: Tensor) -> Tensor:
    return torch._int_mm(_ordered(left), _ordered(right))


def _ordered(x: Tensor) -> Tensor:
    """`x` with the strides of its shape where an axis of size 1 leaves them open: `_int_mm` misreads others."""
    return x.reshape(-1).view(x.shape) if 1 in x.shape else x


def _int8_cuda(left: Tensor, right: Tensor) -> Tensor:
    # cuBLAS takes int8 on both sides, more than 16 rows, and the other sizes in multiples of 8
    (rows, depth), columns = left.shape, right.shape[1]
    centred = (left.view(torch.int8) if left.is_contiguous() else left.contiguous().view(torch.int8)) ^ -128
    correction = 128 * right.sum(0, keepdim=True, dtype=torch.int32)
    centred = torch.nn.functional.pad(centred, (0, -depth % 8, 0, max(32 - rows, 0)))
    right = torch.nn.functional.pad(right, (0, -columns % 8, 0, -depth % 8))
    return torch._int_mm(centred, right)[:rows, :columns] + correction


def _float(left: Tensor, right: Tensor) -> Tensor:
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.int32, device=left.device)
    for start in range(0, left.shape[1], EXACT_FLOAT):
        piece = slice(start, start + EXACT_FLOAT)
        total += (left[:, piece].float() @ right[piece].float()).to(torch.int32)
    return total


_PRODUCTS = {"int8": _int8_cpu, "int8_cuda": _int8_cuda, "float": _float}


def scaled_product(
    left: Tensor, zero_point: int, scale: Tensor, right: Tensor, bias: Optional[Tensor], dtype: torch.dtype
) -> Tensor:
    """See above; `right` is `onednn_operand(...)`, `scale` fp32 (1, N) or (1, 1)."""
    scale = scale.expand(1, right.shape[1]).reshape(-1).contiguous()  # read by address: an expanded view would not do
    zeros = _zeros(right.shape[1])
    y: Tensor = torch.ops.onednn.qlinear_pointwise(
        left, 1.0, zero_point, right, scale, zeros, bias, 1.0, 0, dtype, "none", [], ""
    )
    return y


def onednn_operand(right: Tensor) -> Tensor:
    """int8 `right` (K, N) as `scaled_product` takes it."""
    return right.to_mkldnn()


@cached_tensors(maxsize=64)
def _zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int32)


# --- what this machine can do -----------------------------------------------------------------------------------------


@functools.cache
def backend(device_type: str) -> str:
    """ "int8", "int8_cuda" or "float"."""
    if device_type == "cuda":
        name = "int8_cuda" if torch.cuda.get_device_capability() >= (7, 5) else "float"
    else:
        name = "int8" if device_type == "cpu" and torch.cpu._is_vnni_supported() else "float"
    return name if name == "float" or _reproduces(name, device_type) else "float"


@functools.cache
def fuses(device_type: str) -> bool:
    """Whether `scaled_product` can be used."""
    if device_type != "cpu" or backend("cpu") != "int8":
        return False
    with _disable_current_modes():
        left, right = _extreme_codes("cpu")
        scale = torch.linspace(0.5, 1.5, right.shape[1])
        expected = ((left.double() - 7) @ right.double()) * scale + scale
        try:
            y = scaled_product(left, 7, scale, onednn_operand(right), scale, torch.float32)
        except Exception:  # an operator of another version of torch
            return False
        return bool((y - expected).abs().max() <= 1e-6 * expected.abs().max())


def _reproduces(name: str, device_type: str) -> bool:
    with _disable_current_modes():  # an active dispatch mode must not record the probe
        left, right = _extreme_codes(device_type)
        try:
            product: Any = _PRODUCTS[name](left, right)
            transposed: Any = _PRODUCTS[name](left.t().contiguous().t(), right.t().contiguous().t())
        except Exception:  # no integer GEMM here; torch raises different types
            return False
        expected = left.cpu().long() @ right.cpu().long()
        return torch.equal(product.cpu().long(), expected) and torch.equal(transposed.cpu().long(), expected)


def _extreme_codes(device_type: str) -> tuple[Tensor, Tensor]:
    """Codes whose pairwise sums overflow 16 bits: what instruction sets without int8 dot products get wrong."""
    left = torch.full((40, 72), 255, dtype=torch.uint8, device=device_type)
    right = torch.full((72, 24), 127, dtype=torch.int8, device=device_type)
    left[1::2, ::3] = 0
    right[:, 1::2] = -128
    right[::5, ::3] = -1
    return left, right
