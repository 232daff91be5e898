"""A sign, E exponent bits and M mantissa bits: floating point of any split, as IEEE 754, OCP and others have it.

    field e > 0:   value = +-(1 + m / 2^M) * 2^(e - bias)
    field e = 0:   value = +-(m / 2^M) * 2^(1 - bias)        `subnormals: false`: only 0

`top` says what the highest codes stand for:

    numbers   numbers                                                          OCP's fp6 and fp4
    fn        numbers, but for NaN where exponent and mantissa are all ones    OCP's fp8_e4m3
    ieee      infinity and NaN take the whole highest exponent                 OCP's fp8_e5m2
    fnuz      numbers; NaN is where -0 would be, and the bias is one more      float8_e4m3fnuz

Rounding is to the nearest level, ties to the one with an even mantissa (without mantissa bits to the larger one, and
to 0 rather than to the smallest number). What rounds to more than the largest level becomes that level, infinities
too; with `saturating: false` it becomes infinity, or NaN in formats that have none, as in casts of IEEE types. Named
formats saturate, but for those called `ieee`.

Sources: OCP 8-bit Floating Point Specification (2023), OCP Microscaling Formats (2023), arXiv:2206.02915 (fnuz).

>>> import torch
>>> Minifloat(exponent_bits=2, mantissa_bits=1).values(4).tolist()
[-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
>>> format = Minifloat(exponent_bits=4, mantissa_bits=3, top="fn")
>>> str(format), format.max_value(8), format.fixed_bits
('fp8_e4m3', 448.0, 8)
"""

from typing import Optional

from fairseq.errors import ConfigError
from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.fields import choice, flag, whole
from fairseq.quantization.formats.float.base import FloatFormat
from fairseq.quantization.formats.float.significand import Digits

TOPS = ("numbers", "fn", "ieee", "fnuz")


@FORMATS.register("minifloat")
class Minifloat(FloatFormat):
    """Floating point of few bits.

    Args:
        exponent_bits: E, 1 to 8.
        mantissa_bits: M, 0 to 14; 1 + E + M is at most 16.
        bias: of the exponent; 2^(E-1) - 1 if None, 2^(E-1) of fnuz.
        subnormals: whether there are numbers below the smallest one with a leading 1.
        top: what the highest codes stand for.
        saturating: whether what lies beyond the levels becomes the largest one; None: unless infinity is there for it.
        scaled: whether the levels are stretched to the range of the values.
    """

    name = "minifloat"
    presets = {
        "fp8_e4m3": {"exponent_bits": 4, "mantissa_bits": 3, "top": "fn"},
        "fp8_e5m2": {"exponent_bits": 5, "mantissa_bits": 2, "top": "ieee"},
        "fp6_e3m2": {"exponent_bits": 3, "mantissa_bits": 2},
        "fp6_e2m3": {"exponent_bits": 2, "mantissa_bits": 3},
        "fp4_e2m1": {"exponent_bits": 2, "mantissa_bits": 1},
        "fp8_e3m4_ieee": {"exponent_bits": 3, "mantissa_bits": 4, "top": "ieee", "saturating": False},
        "fp8_e4m3_ieee": {"exponent_bits": 4, "mantissa_bits": 3, "top": "ieee", "saturating": False},
        "fp8_e5m2_ieee": {"exponent_bits": 5, "mantissa_bits": 2, "top": "ieee", "saturating": False},
        "fp8_e4m3_fnuz": {"exponent_bits": 4, "mantissa_bits": 3, "top": "fnuz"},
        "fp8_e5m2_fnuz": {"exponent_bits": 5, "mantissa_bits": 2, "top": "fnuz"},
        "fp8_e4m3b11_fnuz": {"exponent_bits": 4, "mantissa_bits": 3, "top": "fnuz", "bias": 11},
    }

    def __init__(
        self,
        *,
        exponent_bits: int = 4,
        mantissa_bits: int = 3,
        bias: Optional[int] = None,
        subnormals: bool = True,
        top: str = "numbers",
        saturating: bool = True,
        scaled: bool = False,
    ):
        self.exponent_bits = whole(exponent_bits, "exponent_bits", self.name, 1, 8)
        self.mantissa_bits = whole(mantissa_bits, "mantissa_bits", self.name, 0, 14)
        self.bias = None if bias is None else whole(bias, "bias", self.name, -127, 255)
        self.subnormals = flag(subnormals, "subnormals", self.name)
        self.top = choice(top, "top", self.name, TOPS)
        self.saturating = flag(saturating, "saturating", self.name)
        if not saturating and top == "numbers":
            raise ConfigError(
                f"format {self.name}: without infinity or NaN (top: numbers) it saturates; "
                "use saturating: true, or top: ieee, fn or fnuz"
            )
        self._settle(1 + exponent_bits + mantissa_bits, self._digits(), scaled)

    def _digits(self) -> Digits:
        bias = 2 ** (self.exponent_bits - 1) - (self.top != "fnuz") if self.bias is None else self.bias
        highest, ones = 2**self.exponent_bits - 1 - bias, 2**self.mantissa_bits - 1
        if self.top == "ieee" or (self.top == "fn" and not self.mantissa_bits):
            highest -= 1
        elif self.top == "fn":
            ones -= 1
        largest = (2**self.mantissa_bits + ones) * 2.0 ** (highest - self.mantissa_bits)
        overflow = None if self.saturating else "inf" if self.top == "ieee" else "nan"
        return Digits(self.mantissa_bits, 1 - bias, highest, largest, self.subnormals, overflow)

    def with_scale(self) -> "Minifloat":
        return self if self.scaled else Minifloat(**{**self.settings(), "scaled": True})
