"""`src/codecs.cpp`, compiled at first use, for tensors in CPU memory; and packing, which codecs share.

Where there is no compiler, and on other devices, torch's own operations give the same bytes.

>>> codes = torch.tensor([1, 2, 3], dtype=torch.int32)
>>> pack_codes(codes, 3).tolist(), unpack_codes(pack_codes(codes, 3), 3, 3).tolist()      # 0b011_010_001
([209, 0], [1, 2, 3])
"""

import ctypes
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.native.compiled import is_tracing
from fairseq.native.library import library, pointer

SOURCES = Path(__file__).with_name("src")


def native(x: Tensor) -> Optional[ctypes.CDLL]:
    """The kernels for `x`; None where torch's operations are to do it."""
    return library("codecs", SOURCES) if x.device.type == "cpu" and not is_tracing() else None


def call(function: Any, *arguments: Any) -> None:
    """Call a kernel: tensors as pointers, whole numbers as int64, unless they are ctypes already."""
    function.restype = None
    function(*(pointer(a) if isinstance(a, Tensor) else ctypes.c_int64(a) if type(a) is int else a for a in arguments))


def packed_bytes(count: int, bits: int) -> int:
    """What so many codes take."""
    return -(-count * bits // 8)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Codes from 0 to 2^bits - 1, flat, without gaps, the first in the lowest bits: uint8."""
    places = torch.arange(bits, device=codes.device, dtype=torch.int32)
    each = (codes.to(torch.int32)[:, None] >> places & 1).to(torch.uint8).view(-1)
    each = torch.nn.functional.pad(each, (0, -each.numel() % 8)).view(-1, 8)
    weights = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], device=codes.device, dtype=torch.uint8)
    return (each * weights).sum(1, dtype=torch.uint8)


def unpack_codes(packed: Tensor, bits: int, count: int) -> Tensor:
    """What `pack_codes` packed, int32."""
    places = torch.arange(8, device=packed.device, dtype=torch.uint8)
    each = (packed[:, None] >> places & 1).view(-1)[: count * bits].view(count, bits).to(torch.int32)
    return (each << torch.arange(bits, device=packed.device, dtype=torch.int32)).sum(1, dtype=torch.int32)
