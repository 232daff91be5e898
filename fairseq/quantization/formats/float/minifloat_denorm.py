"""Floating point without the implicit leading 1: mantissa and exponent as they are written.

    value = +-(m / 2^M) * 2^(e - bias),   m = 0 .. 2^M - 1,   e = 0 .. 2^E - 1

All codes are numbers. Most numbers have several codes, so there are fewer levels than codes: with the same bits it
rounds one bit coarser than `minifloat`. Levels are those of a significand of M bits: between two powers of two there
are 2^(M-1). Rounding is to the nearest, ties to the even multiple; what lies beyond the largest level becomes it.

>>> MinifloatDenorm(exponent_bits=1, mantissa_bits=2).values(4).tolist()
[-1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]
"""

from typing import Optional

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.fields import whole
from fairseq.quantization.formats.float.base import FloatFormat
from fairseq.quantization.formats.float.significand import Digits


@FORMATS.register("minifloat_denorm")
class MinifloatDenorm(FloatFormat):
    """Floating point of few bits, all of whose digits are written.

    Args:
        exponent_bits: E, 1 to 8.
        mantissa_bits: M, 1 to 14; 1 + E + M is at most 16.
        bias: of the exponent; 2^(E-1) - 1 if None.
        scaled: whether the levels are stretched to the range of the values.
    """

    name = "minifloat_denorm"

    def __init__(
        self, *, exponent_bits: int = 4, mantissa_bits: int = 3, bias: Optional[int] = None, scaled: bool = False
    ):
        self.exponent_bits = whole(exponent_bits, "exponent_bits", self.name, 1, 8)
        self.mantissa_bits = whole(mantissa_bits, "mantissa_bits", self.name, 1, 14)
        self.bias = None if bias is None else whole(bias, "bias", self.name, -127, 255)
        shift = 2 ** (exponent_bits - 1) - 1 if self.bias is None else self.bias
        highest = 2**exponent_bits - 1 - shift
        largest = (2**mantissa_bits - 1) * 2.0 ** (highest - mantissa_bits)
        # m / 2^M from 1/2 on is a number with a leading 1, one exponent lower
        digits = Digits(mantissa_bits - 1, -shift - 1, highest - 1, largest)
        self._settle(1 + exponent_bits + mantissa_bits, digits, scaled)

    def with_scale(self) -> "MinifloatDenorm":
        return self if self.scaled else MinifloatDenorm(**{**self.settings(), "scaled": True})
