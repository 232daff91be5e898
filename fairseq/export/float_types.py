"""Floating-point types of ONNX, and which number format is one of them, up to a power of two.

| type | opset | largest | onnxruntime 1.31, CPU |
| --- | --- | --- | --- |
| FLOAT8E4M3FN, FLOAT8E5M2 | 21 | 448, 57344 | runs |
| FLOAT8E4M3FNUZ, FLOAT8E5M2FNUZ | 21 | 240, 57344 | runs |
| FLOAT4E2M1 | 23 | 6 | has no kernel |

A format with the same mantissa and another bias has the type's numbers times a power of two, which goes to the scale.

>>> from fairseq.quantization.formats import build_format
>>> [(kind.name, factor) for kind, factor in [float_type(build_format(name), 8) for name in ("fp8_e4m3", "mxfp8_e5m2")]]
[('FLOAT8E4M3FN', 1.0), ('FLOAT8E5M2', 1.0)]
>>> found = float_type(build_format({"format": "minifloat", "exponent_bits": 4, "mantissa_bits": 3}), 8)
>>> found[0].name, found[1]                                     # numbers only, up to 480, as fnuz has half of them
('FLOAT8E4M3FNUZ', 2.0)
>>> float_type(build_format("fp6_e2m3"), 6) is None
True
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.quantization.formats import NumberFormat


class FloatType(NamedTuple):
    """A type.

    Attributes:
        name: as ONNX calls it.
        bits: all of them.
        mantissa_bits, least_exponent: as of `FloatCodes`.
        largest_code: bit pattern of the largest number; larger ones are infinity or NaN.
        opset: the first whose QuantizeLinear and DequantizeLinear take it in blocks.
    """

    name: str
    bits: int
    mantissa_bits: int
    least_exponent: int
    largest_code: int
    opset: int = 21

    def patterns(self, codes: Tensor) -> Tensor:
        """Bit patterns, uint8, of codes."""
        return (codes.abs().to(torch.uint8)) | ((codes < 0).to(torch.uint8) << (self.bits - 1))


TYPES = (
    FloatType("FLOAT8E4M3FN", 8, 3, -6, 126),
    FloatType("FLOAT8E4M3FNUZ", 8, 3, -7, 127),
    FloatType("FLOAT8E5M2", 8, 2, -14, 123),
    FloatType("FLOAT8E5M2FNUZ", 8, 2, -15, 127),
    FloatType("FLOAT4E2M1", 4, 1, 0, 7, opset=23),
)


def float_type(number_format: NumberFormat, num_bits: int) -> Optional[tuple[FloatType, float]]:
    """The type with exactly the format's numbers, and the factor by which they are larger; None if there is none."""
    found = number_format.float_codes(num_bits)
    if found is None:
        return None
    largest_code = number_format.code_range(num_bits)[1]
    for kind in TYPES:
        same = (kind.bits, kind.mantissa_bits, kind.largest_code) == (
            number_format.code_bits(num_bits), found.mantissa_bits, largest_code
        )  # fmt: skip
        if same:
            return kind, 2.0 ** (found.least_exponent - kind.least_exponent)
    return None
