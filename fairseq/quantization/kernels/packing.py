"""Codes of 1 to 16 bits in as many bits each: R rows of C codes from 0, each row in ceil(b C / 8) bytes.

    1, 2, 4 bits     8, 4 or 2 codes in a byte, which are as many columns apart as a row has bytes
    3, 5, 6, 7       of the first 8 floor(C / 8) codes the lowest bits packed so, then the next: 3 = 2 + 1, 5 = 4 + 1,
                     6 = 4 + 2, 7 = 4 + 2 + 1; the codes left over are one number behind them, the first code in its
                     lowest bits, the lowest byte first
    8                a byte each
    9 to 15          the lower 8 bits as bytes, then the other bits as above
    16               an int16 each

So whole slices of a row are shifted and combined, by C++ where it is there, and nothing is gathered.

>>> codes = torch.arange(18).reshape(2, 9)
>>> pack_codes(codes, 5).shape, row_bytes(9, 5)                  # 45 bits
(torch.Size([2, 6]), 6)
>>> torch.equal(unpack_codes(pack_codes(codes, 5), 5, 9), codes)
True
"""

import ctypes
from typing import Optional

import torch
from torch import Tensor

from fairseq.native.compiled import MIN_KERNEL_ELEMENTS, is_tracing, kernel
from fairseq.quantization.kernels.library import library

MAX_CODE_BITS = 16
_SLICES = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}  # bits, from the lowest up
_RUN = 8  # columns that fill whole bytes at every width


def row_bytes(columns: int, width: int) -> int:
    """What a row of codes takes."""
    return -(-columns * width // 8)


def pack_codes(codes: Tensor, width: int) -> Tensor:
    """Whole numbers from 0 to 2^width - 1 (R, C) as uint8 (R, bytes), or int16 (R, C) where `width` is 16."""
    if width == MAX_CODE_BITS:
        return codes.to(torch.int16)
    if width > 8:
        codes = codes.to(torch.int32)
        return torch.cat([(codes & 0xFF).to(torch.uint8), pack_codes(codes >> 8, width - 8)], dim=1)
    codes = codes.to(torch.uint8)
    if width not in _SLICES:
        return pack_bits(codes, width)
    whole = codes.shape[1] // _RUN * _RUN
    parts, left = [], codes[:, :whole]
    for bits in _SLICES[width] if whole else ():
        parts.append(pack_bits((left & (2**bits - 1)).contiguous(), bits))
        left = left >> bits
    if whole < codes.shape[1]:
        parts.append(_pack_rest(codes[:, whole:], width))
    return torch.cat(parts, dim=1)


def unpack_codes(data: Tensor, width: int, columns: int) -> Tensor:
    """What `pack_codes` made `data` of, uint8, or int32 above 8 bits."""
    if width == MAX_CODE_BITS:
        return data.to(torch.int32) & 0xFFFF
    if width > 8:
        high = unpack_codes(data[:, columns:], width - 8, columns).to(torch.int32)
        return (high << 8).add_(data[:, :columns])
    if width not in _SLICES:
        return unpack_bits(data.contiguous(), width, columns)
    whole = columns // _RUN * _RUN
    codes = torch.empty(data.shape[0], columns, dtype=torch.uint8, device=data.device)
    start = shift = 0
    for bits in _SLICES[width] if whole else ():
        end = start + row_bytes(whole, bits)
        part = unpack_bits(data[:, start:end].contiguous(), bits, whole)
        if shift:
            codes[:, :whole] |= part << shift
        else:
            codes[:, :whole] = part
        start, shift = end, shift + bits
    if whole < columns:
        codes[:, whole:] = _unpack_rest(data[:, start:], width, columns - whole)
    return codes


def _pack_rest(codes: Tensor, width: int) -> Tensor:
    """Up to 7 codes a row as one number of at most 49 bits."""
    columns = codes.shape[1]
    places = torch.arange(columns, device=codes.device) * width
    number = (codes.to(torch.int64) << places).sum(1, keepdim=True)
    bytes_ = torch.arange(row_bytes(columns, width), device=codes.device) * 8
    return ((number >> bytes_) & 0xFF).to(torch.uint8)


def _unpack_rest(data: Tensor, width: int, columns: int) -> Tensor:
    number = (data.to(torch.int64) << torch.arange(data.shape[1], device=data.device) * 8).sum(1, keepdim=True)
    return ((number >> torch.arange(columns, device=data.device) * width) & (2**width - 1)).to(torch.uint8)


# --- 1, 2, 4 and 8 bits -----------------------------------------------------------------------------------------------


def pack_bits(codes: Tensor, width: int) -> Tensor:
    """Codes, uint8 (R, C), of 1, 2, 4 or 8 bits as uint8 (R, ceil(C width / 8))."""
    if width == 8:
        return codes
    rows, columns = codes.shape
    packed_columns = row_bytes(columns, width)
    native = _library(codes)
    if native is not None:
        packed = torch.empty(rows, packed_columns, dtype=torch.uint8, device="cpu")
        _call("pack_bits", native, codes, packed, (rows, columns, packed_columns), width)
        return packed
    padding = packed_columns * (8 // width) - columns
    return _pack(torch.nn.functional.pad(codes, (0, padding)) if padding else codes, width)


def unpack_bits(data: Tensor, width: int, columns: int) -> Tensor:
    """What `pack_bits` made `data` of."""
    if width == 8:
        return data
    native = _library(data)
    if native is None:
        return _unpack(data, width)[:, :columns].contiguous()
    rows, packed_columns = data.shape
    codes = torch.empty(rows, columns, dtype=torch.uint8, device="cpu")
    _call("unpack_bits", native, data, codes, (rows, columns, packed_columns), width)
    return codes


def _library(data: Tensor) -> Optional[ctypes.CDLL]:
    """The C++ library that packs `data`: for large contiguous CPU tensors that are not traced."""
    fits = (
        data.device.type == "cpu" and data.is_contiguous() and data.numel() >= MIN_KERNEL_ELEMENTS and not is_tracing()
    )
    return library("codes") if fits else None


def _call(
    name: str, native: ctypes.CDLL, source: Tensor, target: Tensor, sizes: tuple[int, int, int], width: int
) -> None:
    getattr(native, name)(
        ctypes.c_void_p(source.data_ptr()), *map(ctypes.c_int64, sizes), ctypes.c_int32(width),
        ctypes.c_void_p(target.data_ptr()), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip


@kernel
def _pack(data: Tensor, width: int) -> Tensor:
    # codes of one byte are half, a quarter or an eighth of a row apart: whole slices are combined, nothing is gathered
    parts = data.chunk(8 // width, dim=1)
    packed = parts[0]
    for index, part in enumerate(parts[1:], 1):
        packed = packed | (part << (index * width))
    return packed


@kernel
def _unpack(data: Tensor, width: int) -> Tensor:
    return torch.cat([(data >> bit) & (2**width - 1) for bit in range(0, 8, width)], dim=1)
