"""The OCP Microscaling formats (MX, specification 1.0): 32 elements, and a scale of 8 bits from 2^-127 to 2^127.

    mxint8       integers of 8 bits; -128 is left unused       8.25 bits a value
    mxfp8_e4m3   largest element 448, subnormals from 2^-9     8.25
    mxfp8_e5m2   57344, 2^-16                                  8.25
    mxfp6_e2m3   7.5, 2^-3                                     6.25
    mxfp6_e3m2   28, 2^-4                                      6.25
    mxfp4        6, 0.5                                        4.25

Elements have no infinity and no NaN of their own here: a block with one becomes NaN.

>>> mxfp4 = MXFP4()
>>> import torch
>>> x = torch.tensor([0.1, -0.7, 2.6, 3.6])
>>> mxfp4.fake_quantize(x, mxfp4.qparams(x.min(), x.max(), 4)).tolist()     # max 3.6 = 1.8 * 2: in units of 2 / 4
[0.0, -0.75, 3.0, 3.0]
"""

from typing import ClassVar

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.block.base import BlockOfFloats, BlockOfIntegers, BlockSize


class Microscaling(BlockOfFloats):
    """Elements in the specification's floating-point formats."""

    width: ClassVar[int]

    def __init__(self, *, block_size: BlockSize = 32, scale_rule: str = "floor"):
        super().__init__(block_size, scale_rule, self.width)


@FORMATS.register("mxfp8_e4m3", "mxfp8")
class MXFP8E4M3(Microscaling):
    """e4m3: precision."""

    name = "mxfp8_e4m3"
    width, mantissa_bits, least_exponent, largest = 8, 3, -6, 448.0


@FORMATS.register("mxfp8_e5m2")
class MXFP8E5M2(Microscaling):
    """e5m2: range within a block."""

    name = "mxfp8_e5m2"
    width, mantissa_bits, least_exponent, largest = 8, 2, -14, 57344.0


@FORMATS.register("mxfp6_e2m3", "mxfp6")
class MXFP6E2M3(Microscaling):
    """e2m3: precision."""

    name = "mxfp6_e2m3"
    width, mantissa_bits, least_exponent, largest = 6, 3, 0, 7.5


@FORMATS.register("mxfp6_e3m2")
class MXFP6E3M2(Microscaling):
    """e3m2: range within a block."""

    name = "mxfp6_e3m2"
    width, mantissa_bits, least_exponent, largest = 6, 2, -2, 28.0


@FORMATS.register("mxfp4", "mxfp4_e2m1")
class MXFP4(Microscaling):
    """e2m1."""

    name = "mxfp4"
    width, mantissa_bits, least_exponent, largest = 4, 1, 0, 6.0


@FORMATS.register("mxint8")
class MXInt8(BlockOfIntegers):
    """Integers; the specification counts them in 64ths, here the scale does."""

    name = "mxint8"

    def __init__(self, *, block_size: BlockSize = 32, scale_rule: str = "floor"):
        super().__init__(block_size, scale_rule, 8)

    def scale_exponents(self, num_bits: int) -> tuple[int, int]:
        return -127 - 6, 127 - 6
