"""Values of a small floating-point format as codes: its bit patterns without the sign, counting from 0 outwards.

    code = exponent field * 2^m + mantissa        m mantissa bits; the field of the least normal number, 2^e, is 1

Both ways are shifts of fp32's or fp64's own bits. Below 2^e the field is 0 and values are multiples of 2^(e - m).

>>> codes = magnitude_codes(torch.tensor([0.0, 0.001953125, 1.0, -448.0]), 3, -6)        # e4m3
>>> codes.tolist(), values_of_codes(codes, 3, -6).tolist()
([0.0, 1.0, 56.0, -126.0], [0.0, 0.001953125, 1.0, -448.0])
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor


class _Layout(NamedTuple):
    """How a type of torch is laid out."""

    integer: torch.dtype
    mantissa_bits: int
    bias: int


_LAYOUTS = {torch.float32: _Layout(torch.int32, 23, 127), torch.float64: _Layout(torch.int64, 52, 1023)}


def magnitude_codes(x: Tensor, mantissa_bits: int, least_exponent: int, out: Optional[Tensor] = None) -> Tensor:
    """Codes of `x` (fp32 or fp64), values of the format, with the sign of the value; in x's type or in `out`."""
    layout = _LAYOUTS[x.dtype]
    size = x.abs()
    dropped = layout.mantissa_bits - mantissa_bits
    offset = least_exponent + layout.bias - 1  # the field of the least normal number, minus the format's own
    normal = (size.view(layout.integer) >> dropped) - (offset << mantissa_bits)
    subnormal = size * 2.0 ** (mantissa_bits - least_exponent)
    codes = torch.where(size < 2.0**least_exponent, subnormal, normal.to(x.dtype))
    return torch.mul(codes, x.sign(), out=out)


def values_of_codes(codes: Tensor, mantissa_bits: int, least_exponent: int, out: Optional[Tensor] = None) -> Tensor:
    """The values that `magnitude_codes` numbers; `out` may be `codes`."""
    layout = _LAYOUTS[codes.dtype]
    size = codes.abs()
    offset = least_exponent + layout.bias - 1
    bits = (size.to(layout.integer) + (offset << mantissa_bits)) << (layout.mantissa_bits - mantissa_bits)
    values = torch.where(
        size < 2**mantissa_bits, size * 2.0 ** (least_exponent - mantissa_bits), bits.view(codes.dtype)
    )
    return torch.mul(values, codes.sign(), out=out)
