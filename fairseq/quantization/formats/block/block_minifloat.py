"""Small floating-point numbers that share an exponent bias (Fox et al., ICLR 2021).

    bias  = 2^E - 1 - floor(log2 amax)       in `bias_bits` bits, signed: the largest value gets the highest exponent
    value = +-1.m * 2^(field - bias),  field from 1 to 2^E - 1;   +-0.m * 2^(1 - bias) where the field is 0

No code is kept for infinities or NaN. The scale here is the power of two of the highest exponent, 2^(2^E - 1 - bias).

>>> bm = BlockMinifloat(width=4, exponent_bits=2)
>>> import torch
>>> x = torch.tensor([0.9, -0.4, 0.2, 0.01])
>>> bm.fake_quantize(x, bm.qparams(x.min(), x.max(), 4)).tolist()
[0.75, -0.375, 0.1875, 0.0]
"""

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.block.base import BlockOfFloats, BlockSize, checked_width


@FORMATS.register("block_minifloat")
class BlockMinifloat(BlockOfFloats):
    """Minifloats with a shared bias.

    Args:
        width: bits of an element: sign, exponent, and the rest for the mantissa.
        exponent_bits: of an element.
        bias_bits: of the shared bias.
        block_size: values that share it, or [rows, columns].
        scale_rule: as in the microscaling formats.
    """

    name = "block_minifloat"

    def __init__(
        self,
        *,
        width: int = 8,
        exponent_bits: int = 4,
        bias_bits: int = 8,
        block_size: BlockSize = 32,
        scale_rule: str = "floor",
    ):
        self.width = checked_width(self.name, "width", width, 2, 16)
        super().__init__(block_size, scale_rule, self.width)
        self.exponent_bits = checked_width(self.name, "exponent_bits", exponent_bits, 1, min(width - 1, 7))
        self.scale_bits = self.bias_bits = checked_width(self.name, "bias_bits", bias_bits, 1, 8)
        self.mantissa_bits = width - 1 - exponent_bits
        self.least_exponent = 2 - 2**exponent_bits  # the highest is 0
        self.largest = 2 - 2.0**-self.mantissa_bits

    def scale_exponents(self, num_bits: int) -> tuple[int, int]:
        top, half = 2**self.exponent_bits - 1, 2 ** (self.bias_bits - 1)
        return max(top - half + 1, -127), min(top + half, 127)
