"""Powers of two that share an exponent bias, with an exact zero.

    value = +-2^(k - q) * scale,  k from 1 to q = 2^(b-1) - 1;   0 for k = 0

Rounding is to the value that is nearest (not to the nearest exponent): 1.5 lies between 1 and 2 and goes to 2, as every
tie goes outwards, but for the one between 0 and the least power of two, which goes to 0. The scale is the power of two
nearest to the largest magnitude: the rule `even`.

>>> block_log = BlockLog(width=4)
>>> import torch
>>> x = torch.tensor([0.9, -0.4, 0.2, 0.001])
>>> block_log.fake_quantize(x, block_log.qparams(x.min(), x.max(), 4)).tolist()
[1.0, -0.5, 0.25, 0.0]
"""

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.block.base import BlockOfFloats, BlockSize, checked_width


@FORMATS.register("block_log")
class BlockLog(BlockOfFloats):
    """Powers of two.

    Args:
        width: bits of an element: a sign and an exponent.
        bias_bits: of the shared bias.
        block_size: values that share it, or [rows, columns].
        scale_rule: as in the microscaling formats.
    """

    name = "block_log"
    ties = "outward"

    def __init__(self, *, width: int = 8, bias_bits: int = 8, block_size: BlockSize = 32, scale_rule: str = "even"):
        self.width = checked_width(self.name, "width", width, 2, 8)
        super().__init__(block_size, scale_rule, self.width)
        self.scale_bits = self.bias_bits = checked_width(self.name, "bias_bits", bias_bits, 1, 8)
        self.mantissa_bits = 0
        self.least_exponent = 2 - 2 ** (width - 1)  # the highest is 0
        self.largest = 1.0

    def scale_exponents(self, num_bits: int) -> tuple[int, int]:
        half = 2 ** (self.bias_bits - 1)
        return max(1 - half, -127), min(half, 127)
