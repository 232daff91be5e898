"""A weight as packed codes: what a checkpoint of quantized weights stores, and what stays in memory of one.

    value = format.dequantize(code, scale, zero point)      bit for bit what the quantizer's own rounding gives

Codes count from 0 and take as many bits as the format says, a row of them whole bytes (`kernels/packing.py`). Scales
and zero points are fp32, or what the format keeps of them (formats with blocks: 8 bits or fewer, a row of them whole
bytes; formats that are cast: nothing), one per range of the quantizer's granularity; groups that do not divide a row
end in a shorter one, with scales of its own.

Shapes: R rows, C columns of the weight.

>>> from fairseq.quantization.quantizer import WEIGHT, Quantizer, QuantizerSpec, QuantizationContext
>>> spec = QuantizerSpec(format="symmetric", granularity="channel")
>>> quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(2, 4))
>>> weight = torch.tensor([[0.5, -7.0, 3.0, 0.0], [1.0, 2.0, 2.0, 7.0]])
>>> packed = pack_weight(quantizer, weight, num_bits=4)
>>> packed.data, packed.num_bytes                                  # 8 codes of 4 bits, 2 scales
(tensor([[184, 129],
        [169, 250]], dtype=torch.uint8), 12)
>>> torch.equal(packed.values(), quantizer.fake(weight, 4))
True
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.formats import FormatSpec, NumberFormat, QParams, build_format
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.kernels.codes import QuantizedMatrix, make_codes
from fairseq.quantization.kernels.packing import MAX_CODE_BITS, pack_codes, unpack_codes
from fairseq.quantization.products.packed_scales import (
    pack_scales,
    range_shapes,
    stored_zero_points,
    unpack_scales,
    zero_points_of,
)
from fairseq.quantization.products.weight_layout import WeightLayout
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.versions import PACKED_VERSION


class PackedWeight(NamedTuple):
    """A matrix (R, C) as packed codes.

    Attributes:
        data: as `pack_codes` makes it: uint8 (R, bytes), or int16 (R, C) of 16 bits.
        columns: C.
        scales: as the format stores them; one tensor, two where a last group is shorter, each of which broadcasts
            against its piece of the codes; of scales of fewer than 8 bits the packed rows.
        zero_points: likewise, in the format's meaning; None where all are 0.
        format: the number format: its name, or a mapping with its settings.
        granularity: as text.
        num_bits: as the quantizer's.
        layout: of the layer's weight, where it is another than the matrix.
    """

    data: Tensor
    columns: int
    scales: tuple[Tensor, ...]
    zero_points: Optional[tuple[Tensor, ...]]
    format: FormatSpec
    granularity: str
    num_bits: int
    layout: Optional[WeightLayout] = None

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        return self.data.shape[0], self.columns

    @property
    def code_bits(self) -> int:
        """What one code takes, before several are put into a byte."""
        return self._format().code_bits(self.num_bits)

    @property
    def num_bytes(self) -> int:
        """What codes, scales and zero points take."""
        return sum(t.numel() * t.element_size() for t in (self.data, *self.scales, *(self.zero_points or ())))

    def qparams(self) -> list[QParams]:
        """The levels, as the quantizer's format describes them."""
        bounds = self._format().code_range(self.num_bits)
        shapes = range_shapes(Granularity.parse(self.granularity), self.shape)
        stored = unpack_scales(self._format(), self.scales, shapes)
        scales = [scale.to(self.data.device) for scale in self._format().scales_of(stored, self.num_bits)]
        zeros = zero_points_of(self._format(), self.zero_points, scales)
        return [QParams(scale, zero, *bounds) for scale, zero in zip(scales, zeros, strict=True)]

    def rows(self, indices: Tensor) -> "PackedWeight":
        """The rows `indices` (N,), as an embedding looks them up."""

        def of(part: Tensor) -> Tensor:
            by_row = part.shape[0] == self.data.shape[0] and (part.shape[0] > 1 or part.dtype == torch.uint8)
            return part[indices] if by_row else part

        zeros = None if self.zero_points is None else tuple(of(zero) for zero in self.zero_points)
        return self._replace(data=self.data[indices], scales=tuple(of(scale) for scale in self.scales),
                             zero_points=zeros)  # fmt: skip

    def weight(self) -> Tensor:
        """The values as the layer has them, fp32."""
        return self.values() if self.layout is None else self.layout.weight(self.values()).contiguous()

    def values(self) -> Tensor:
        """The matrix (R, C), fp32."""
        number_format = self._format()
        values = self.unpacked().float().add_(number_format.first_code(self.num_bits))
        for piece, qparams in zip(Granularity.parse(self.granularity).pieces(values), self.qparams(), strict=True):
            number_format.dequantize(piece, qparams, out=piece)
        return values

    def codes(self) -> QuantizedMatrix:
        """For integer products: 8 bits or fewer, and scales that do not change along a row."""
        qparams, number_format = self.qparams()[0], self._format()
        scale, zero = (part.expand(1 if part.numel() == 1 else self.data.shape[0], 1) for part in qparams[:2])
        return make_codes(self.unpacked(), scale, zero, self.num_bits, number_format)

    def with_codes(self, codes: Tensor) -> "PackedWeight":
        """Other codes from 0, uint8 (R, C), on the same grid."""
        return self._replace(data=pack_codes(codes, self.code_bits))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        layout = {} if self.layout is None else {"layout": self.layout.as_dict()}  # which earlier builds do not read
        return {
            "version": PACKED_VERSION,
            "codes": self.data,
            "columns": self.columns,
            "scales": list(self.scales),
            "zero_points": None if self.zero_points is None else list(self.zero_points),
            "format": self.format,
            "granularity": self.granularity,
            "num_bits": self.num_bits,
            **layout,
        }

    def _format(self) -> NumberFormat:
        return build_format(self.format)

    def unpacked(self) -> Tensor:
        """Codes from 0, uint8 or int32 (R, C)."""
        return unpack_codes(self.data, self.code_bits, self.columns)


@torch.no_grad()
def pack_weight(
    quantizer: Quantizer, weight: Tensor, num_bits: int, layout: Optional[WeightLayout] = None
) -> PackedWeight:
    """`weight` as `quantizer` rounds it at `num_bits`: a matrix (R, C), or what is one by its `layout`.

    Raises:
        ConfigError: a number format whose codes do not fit into `num_bits`.
        DataError: a weight with inf or NaN.
    """
    weight = weight if layout is None else layout.matrix(weight)
    weight, first = weight.detach().float(), quantizer.format.first_code(num_bits)
    low, high = quantizer.format.stored_codes(num_bits)
    width = quantizer.format.code_bits(num_bits)
    if low < first or high - first >= 2**width or width > MAX_CODE_BITS:
        raise ConfigError(
            f"{quantizer.path}: codes {low} to {high} of format {quantizer.format} do not fit into {width} bits"
        )
    codes = quantizer.codes(weight, num_bits).to(torch.int32) - first
    all_qparams = quantizer.qparams(weight, num_bits)
    shapes = range_shapes(quantizer.granularity, (weight.shape[0], weight.shape[1]))
    stored = quantizer.format.stored_scales(all_qparams, num_bits)
    kept = quantizer.format.stored_layout(shapes)
    scales = pack_scales(
        quantizer.format, tuple(part.reshape(shape).clone() for part, (_, shape) in zip(stored, kept, strict=True))
    )
    number_format = quantizer.format
    zero_points = [qparams.zero_point for qparams in all_qparams]
    zeros: Optional[tuple[Tensor, ...]] = stored_zero_points(number_format, zero_points, shapes)
    # what a format of uneven levels without zero point keeps there is for rounding; values do without
    without = number_format.block is not None or not (number_format.zero_point_bits or number_format.is_uniform)
    if without or not any(bool(zero.any()) for zero in zeros or ()):
        zeros = None
    data = pack_codes(codes, width)
    spec, granularity = quantizer.format.spec(), str(quantizer.granularity)
    return PackedWeight(data, weight.shape[1], scales, zeros, spec, granularity, num_bits, layout)
