"""The power of two that a block's values share, from the largest magnitude among them.

With amax = the largest magnitude, L = the largest value of an element and E = floor(log2 L),

    floor   2^(floor(log2 amax) - E)        the specification's (OCP Microscaling 1.0, 6.3); the largest may be clamped
    ceil    2^(ceil(log2 amax) - E)         never clamped, at up to twice the step
    even    floor, after rounding amax to the mantissa of an element, ties to even
    rceil   2^ceil(log2(amax / L))          the least power of two with which nothing is clamped

All four are floor(log2 amax) - E, plus 1 where the mantissa of amax lies above a threshold; so they are computed on the
bits of amax, where adding (all ones - threshold) to the mantissa carries into the exponent. A block of zeros takes 1;
an infinity or a NaN makes the scale NaN and with it the block, as the scale byte 255 of the specification does: what
has diverged stays visible.

>>> amax = torch.tensor([448.0, 449.0, 256.0, 0.0, float("inf")])
>>> for rule in SCALE_RULES:
...     print(rule, shared_scale(amax, 448.0, 3, rule, (-127, 127)).tolist())
floor [1.0, 1.0, 1.0, 1.0, nan]
ceil [2.0, 2.0, 1.0, 1.0, nan]
even [1.0, 1.0, 1.0, 1.0, nan]
rceil [1.0, 2.0, 1.0, 1.0, nan]
"""

import math

import torch
from torch import Tensor

SCALE_RULES = ("floor", "ceil", "even", "rceil")
TINY = 2.0**-126  # the least normal number of fp32


def shared_scale(amax: Tensor, largest: float, mantissa_bits: int, rule: str, exponents: tuple[int, int]) -> Tensor:
    """The scale of each block, of `amax`'s type.

    Args:
        amax: largest magnitudes, fp32 or fp64.
        largest: L.
        mantissa_bits: of an element, for `even`.
        rule: one of `SCALE_RULES`.
        exponents: the least and the largest exponent that a scale can have.
    """
    top = math.floor(math.log2(largest))
    is_wide = amax.dtype == torch.float64
    integer, width, bias = (torch.int64, 52, 1023) if is_wide else (torch.int32, 23, 127)
    # numbers that fp32 writes without exponent get one; of fp64 they lie far below every scale
    is_tiny = amax < TINY
    carried = torch.where(is_tiny, amax * 2.0**32, amax).view(integer) + carry(largest, mantissa_bits, rule, width)
    exponent = ((carried >> width) - (bias + top) - is_tiny.to(integer) * 32).clamp_(*exponents)
    scale = power_of_two(exponent, amax.dtype)
    scale = torch.where(amax == 0, torch.ones_like(scale), scale)
    return torch.where(amax.isfinite(), scale, torch.full_like(scale, math.nan))


def carry(largest: float, mantissa_bits: int, rule: str, width: int) -> int:
    """What makes the mantissa of amax, of `width` bits, carry into its exponent where the rule says so."""
    if rule == "floor":
        return 0
    if rule == "ceil":
        return 2**width - 1
    if rule == "even":  # what rounds up to the next power of two: from half a step below it
        return int(2 ** (width - mantissa_bits - 1))
    mantissa = 2 * math.frexp(largest)[0]  # from 1 to 2
    return 2**width - 1 - int((mantissa - 1) * 2**width)


def power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """2^exponent for integers from -149 to 127, exactly: as a product of two that fp32 writes with an exponent."""
    if dtype == torch.float64:
        return ((exponent.long() + 1023) << 52).view(dtype)
    half = exponent >> 1
    return ((half + 127) << 23).view(dtype) * ((exponent - half + 127) << 23).view(dtype)


def exponent_of(scale: Tensor) -> Tensor:
    """The exponent of powers of two, int32; fp32 writes the least of them without exponent, so as fp64."""
    return ((scale.double().view(torch.int64) >> 52) - 1023).int()
