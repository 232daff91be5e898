"""`mxfp4`, `mxint8`, `nvfp4`, `block_fp:6`, ...: formats of `fairseq.quantization` whose blocks have own scales.

Blocks lie along the last axis, as in `fairseq.quantization`, and a row of codes takes whole bytes. Bits are given where
the format does not fix them.

>>> from fairseq.distributed.codecs import codec
>>> codec("mxfp4").size((2, 64)), codec("mxfp4").round_trip(torch.tensor([0.0, 0.3, 1.2, 6.0]))
(72, tensor([0.0000, 0.5000, 1.0000, 6.0000]))
"""

import math
from typing import Optional

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Codec, Shape, whole
from fairseq.errors import ConfigError
from fairseq.quantization.formats import build_format
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.kernels.packing import row_bytes
from fairseq.quantization.products.packed_scales import packed_layout, range_shapes
from fairseq.quantization.products.packed_weight import PackedWeight, pack_weight
from fairseq.quantization.quantizer import WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

_NOT_FINITE = 255  # every byte of a message of what is not finite; no scale of finite values is that


@CODECS.register("format")
class Format(Codec):
    """`name`: of a format; `bits`: where it has several."""

    form = "FORMAT or FORMAT:BITS, such as mxfp4 or block_fp:6"

    def __init__(self, name: str, bits: Optional[str] = None):
        number_format = build_format(name)
        if number_format.block is None or number_format.block[0] != 1:
            raise ConfigError(f"the format {name} has no blocks with scales of their own; take group:BITS,SIZE")
        if bits is None and number_format.fixed_bits is None:
            raise ConfigError(f"the format {name} has {number_format.bits_text()}; say how many, as in {name}:6")
        given = number_format.fixed_bits if bits is None else whole(bits, "the number of bits", 1, 16)
        self.bits = number_format.check_bits(given, name)
        self.format, self.granularity = number_format, Granularity.parse(f"group:{number_format.block[1]}")

    def _layout(self, shape: tuple[int, int]) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        """Types and shapes of codes and scales."""
        width = self.format.code_bits(self.bits)
        columns = shape[1] if width == 16 else row_bytes(shape[1], width)
        codes = (torch.int16 if width == 16 else torch.uint8, (shape[0], columns))
        return [codes, *packed_layout(self.format, range_shapes(self.granularity, shape))]

    def packed_size(self, shape: Shape) -> int:
        return sum(math.prod(part) * dtype.itemsize for dtype, part in self._layout(_matrix(shape)))

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        matrix = x.view(_matrix(shape))
        if not bool(matrix.isfinite().all()):
            return x.new_full((self.packed_size(shape),), _NOT_FINITE, dtype=torch.uint8)
        spec = QuantizerSpec(format=self.format.spec(), granularity=str(self.granularity))
        quantizer = Quantizer("message", WEIGHT, spec, QuantizationContext(), shape=matrix.shape)
        packed = pack_weight(quantizer, matrix, self.bits)
        return torch.cat([part.contiguous().view(-1).view(torch.uint8) for part in (packed.data, *packed.scales)])

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        rows, columns = _matrix(shape)
        if bool((packed == _NOT_FINITE).all()):
            return torch.full((rows * columns,), math.nan, device=packed.device)
        parts, start = [], 0
        for dtype, part in self._layout((rows, columns)):
            stop = start + math.prod(part) * dtype.itemsize
            parts.append(packed[start:stop].clone().view(dtype).view(part))
            start = stop
        weight = PackedWeight(
            parts[0], columns, tuple(parts[1:]), None, self.format.spec(), str(self.granularity), self.bits
        )
        return weight.values().reshape(-1)


def _matrix(shape: Shape) -> tuple[int, int]:
    columns = shape[-1] if shape else 1
    return math.prod(shape) // max(1, columns), columns
