"""Rounding to a significand of few bits: the arithmetic of every format that has an exponent for each value.

    step(x) = 2^(max(floor(log2 |x|), min_exponent) - mantissa_bits)         below min_exponent levels are evenly spaced
    y       = round(x / step) * step,   ties to the even multiple

Neither logarithm nor division is needed. The exponent bits of x, taken as a number, are 2^floor(log2 |x|); and adding
c = 1.5 * 2^digits * step to x, then taking it away, leaves x rounded to multiples of `step`, because that is how far
apart the numbers of c's size are (digits: 23 of fp32, 52 of fp64). |x| stays below 2^(digits - 1) * step, so the sum
keeps c's exponent. A value that rounds up to the next power of two is one.

A tensor in memory order is worked through in pieces that stay in the cache, so its memory is read and written once.

>>> round_significand(torch.tensor([1.99, 0.99, 1.0625, 0.01, 700.0]), Digits(3, -6, 8, 448.0))
tensor([2.0000e+00, 1.0000e+00, 1.0000e+00, 9.7656e-03, 4.4800e+02])
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import Noise

PIECE = 2**17  # elements


class Digits(NamedTuple):
    """What can be written.

    Attributes:
        mantissa_bits: behind the leading 1.
        min_exponent: of the smallest number with a leading 1.
        max_exponent: of the largest one.
        largest: the largest number.
        subnormals: whether there are multiples of 2^(min_exponent - mantissa_bits) below 2^min_exponent; otherwise 0 is
            next to it.
        overflow: what numbers become that round to more than `largest`: `inf`, `nan`, or None for `largest` itself.
    """

    mantissa_bits: int
    min_exponent: int
    max_exponent: int
    largest: float
    subnormals: bool = True
    overflow: Optional[str] = None

    @property
    def bound(self) -> float:
        """Where values may be clamped before they are rounded."""
        return self.largest if self.overflow is None else 2.0 ** (self.max_exponent + 1)


class _Layout(NamedTuple):
    """How a type of floating-point numbers is laid out."""

    integers: torch.dtype
    digits: int
    bias: int

    @property
    def exponents(self) -> int:
        return (2 * self.bias + 1) << self.digits

    def fits(self, digits: Digits) -> bool:
        """Whether every number on the way to a rounded one is a normal number of this type."""
        highest = digits.max_exponent + 1 + self.digits - digits.mantissa_bits * digits.subnormals
        return digits.min_exponent - digits.mantissa_bits > -self.bias and highest <= self.bias


_LAYOUTS = {torch.float32: _Layout(torch.int32, 23, 127), torch.float64: _Layout(torch.int64, 52, 1023)}


def native_fields(digits: Digits) -> Optional[tuple[float, ...]]:
    """The fields of `Digits` in `kernels/src/levels.cpp`; None where fp32 does not do for the way to a result."""
    if not _LAYOUTS[torch.float32].fits(digits):
        return None
    least, whole = 2.0**digits.min_exponent, 1.5 * 2.0 ** (23 - digits.mantissa_bits)
    # below the least normal number steps are its own, or the number itself where there are no subnormals
    shift = least * whole * (1.0 if digits.subnormals else 2.0**digits.mantissa_bits)
    beyond = digits.largest if digits.overflow is None else float(digits.overflow)
    return least, whole, shift, digits.bound, digits.largest, beyond


def round_significand(
    x: Tensor,
    digits: Digits,
    noise: Optional[Noise] = None,
    out: Optional[Tensor] = None,
    scale: Optional[Tensor] = None,
) -> Tensor:
    """`x` (fp32 or fp64) rounded to `digits`. NaN stays NaN. Zeros have no sign.

    Args:
        noise: x / step + u is rounded instead, so that the expected value is x.
        out: memory for the result, which may be x; a new tensor if None.
        scale: what levels are multiplied by, broadcast against x; None for 1.
    """
    out = torch.empty_like(x) if out is None else out
    if not _LAYOUTS[x.dtype].fits(digits):
        return out.copy_(round_significand(x.double(), digits, noise, None, scale))
    if scale is not None and scale.numel() > 1:
        units = torch.div(x, scale, out=out)
        return round_significand(units, digits, noise, units).mul_(scale)
    scale = None if scale is None else scale.reshape(())  # so that it fits pieces of any shape
    in_order = x.device.type == "cpu" and x.is_contiguous() and out.is_contiguous() and x.numel() > PIECE
    if noise is not None or not in_order or torch.compiler.is_compiling():
        return _round(x, out, digits, scale, noise, None)
    room = torch.empty(PIECE, dtype=_LAYOUTS[x.dtype].integers)
    for piece, target in zip(x.view(-1).split(PIECE), out.view(-1).split(PIECE), strict=True):
        _round(piece, target, digits, scale, None, room[: piece.numel()])
    return out


def _round(
    x: Tensor, out: Tensor, digits: Digits, scale: Optional[Tensor], noise: Optional[Noise], room: Optional[Tensor]
) -> Tensor:
    """Round `x` into `out`; `scale`: one number; `room`: memory for the bits."""
    layout = _LAYOUTS[x.dtype]
    mantissa, smallest = digits.mantissa_bits, (digits.min_exponent + layout.bias) << layout.digits
    units = x if scale is None else torch.div(x, scale, out=out)
    torch.clamp(units, -digits.bound, digits.bound, out=out)
    power = torch.bitwise_and(out.view(layout.integers), layout.exponents, out=room)  # 2^floor(log2 |x|), as bits
    tiny = None if digits.subnormals else power < smallest
    # the exponent field of the step, or of c, which is 1.5 (hence the highest mantissa bit) * 2^digits * step
    shift = -mantissa if noise is not None else layout.digits - mantissa
    half = 0 if noise is not None else 1 << (layout.digits - 1)
    power.clamp_(min=smallest).add_((shift << layout.digits) + half)
    if tiny is not None:
        power.add_(tiny, alpha=mantissa << layout.digits)  # the step is then the smallest number itself
    real = power.view(x.dtype)
    if noise is None:
        out.add_(real).sub_(real)
    else:
        out.div_(real)
        noise.add_to(out)
        out.round_().mul_(real).clamp_(-digits.bound, digits.bound).add_(0.0)
    if digits.overflow is not None:
        beyond = float(digits.overflow)
        out.masked_fill_(out > digits.largest, beyond).masked_fill_(out < -digits.largest, -beyond)
    return out if scale is None else out.mul_(scale)
