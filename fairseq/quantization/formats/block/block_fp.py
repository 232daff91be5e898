"""Block floating point: integers that share an exponent (MSFP, Rouhani et al. 2020; Drumond et al. 2018).

    e     = floor(log2 amax)              in `exponent_bits` bits with the usual bias
    value = code * 2^(e - b + 2),  code in [-q, q],  q = 2^(b-1) - 1

so a code is a sign and a mantissa of b - 1 bits, of which 2^e takes the highest. With `width` the format has that many
bits; without it the bits are those that a layer runs at, and may follow a schedule.

>>> block_fp = BlockFloatingPoint()
>>> import torch
>>> x = torch.tensor([8.0, -7.4, 0.6, 0.0])
>>> block_fp.fake_quantize(x, block_fp.qparams(x.min(), x.max(), 5)).tolist()
[8.0, -7.0, 1.0, 0.0]
"""

from typing import Optional

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.block.base import BlockOfIntegers, BlockSize, checked_width


@FORMATS.register("block_fp")
class BlockFloatingPoint(BlockOfIntegers):
    """Integers with a shared exponent.

    Args:
        width: bits of an element, sign included; None: the bits in force.
        exponent_bits: of the shared exponent.
        block_size: values that share it, or [rows, columns].
        scale_rule: as in the microscaling formats; `floor` makes the largest value's exponent the shared one.
    """

    name = "block_fp"

    def __init__(
        self,
        *,
        width: Optional[int] = None,
        exponent_bits: int = 8,
        block_size: BlockSize = 16,
        scale_rule: str = "floor",
    ):
        self.width = None if width is None else checked_width(self.name, "width", width, 2, 16)
        super().__init__(block_size, scale_rule, self.width)
        self.exponent_bits = self.scale_bits = checked_width(self.name, "exponent_bits", exponent_bits, 1, 8)

    def scale_exponents(self, num_bits: int) -> tuple[int, int]:
        bias = 2 ** (self.exponent_bits - 1) - 1
        least, most = -bias - (num_bits - 2), 2**self.exponent_bits - 1 - bias - (num_bits - 2)
        return least, min(most, 127)  # a scale is an fp32 number
