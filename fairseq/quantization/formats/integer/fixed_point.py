"""Fixed point: W bits, F of them behind the point.

    code = clamp(round(x * 2^F), -2^(W-1), 2^(W-1) - 1),   value = code * 2^-F        unsigned: 0 .. 2^W - 1

F may be negative, or larger than W. It decides more than W does: weights of deviation 0.04 are nearly all 0 at F = 2,
whatever W is. `frac_width` is F itself; `half` for W // 2 (rounded down); or `auto`: the largest F with which the
range of the values fits, which is the smallest power of two as a scale. With range source `mse` F is the one with the
least error. Rounding is to the nearest code, ties to even, or down (`rounding: floor`).

>>> import torch
>>> format = FixedPoint(width=8, frac_width=4)
>>> x = torch.tensor([0.03125, 0.09375, 0.15625, 7.99, -8.1])
>>> format.fake_quantize(x, format.qparams(x.min(), x.max(), 8))
tensor([ 0.0000,  0.1250,  0.1250,  7.9375, -8.0000])
"""

from typing import Optional, Union

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Noise, QParams
from fairseq.quantization.formats.fields import choice, flag, whole
from fairseq.quantization.formats.integer.uniform import MIN_SCALE, IntegerFormat

MOST_BITS = 32
MOST_PLACES = 120  # so that scale and reciprocal are normal numbers of fp32
EXACT_BITS = 24  # whole numbers of so many bits are exact in fp32


@FORMATS.register("fixed_point")
class FixedPoint(IntegerFormat):
    """Levels `code * 2^-F`.

    Args:
        width: W; None: as many as `num_bits` says.
        frac_width: F, `half` or `auto`.
        signed: whether there are negative values.
        rounding: `nearest` or `floor`.
    """

    name = "fixed_point"
    has_exact_zero = True
    scale_is_free = False

    def __init__(
        self,
        *,
        width: Optional[int] = None,
        frac_width: Union[int, str] = "auto",
        signed: bool = True,
        rounding: str = "nearest",
    ):
        self.signed = flag(signed, "signed", self.name)
        self.rounding = choice(rounding, "rounding", self.name, ("nearest", "floor"))
        self.min_bits, self.max_bits = (2, MOST_BITS) if signed else (1, MOST_BITS - 1)
        self.width = None if width is None else whole(width, "width", self.name, self.min_bits, self.max_bits)
        if self.width is not None:
            self.fixed_bits = self.min_bits = self.max_bits = self.width
        self.frac_width = frac_width
        if frac_width not in ("half", "auto"):
            whole(frac_width, "frac_width", self.name, -MOST_PLACES, MOST_PLACES, ("half", "auto"))
        self.holds_gradients = self.signed
        self.takes_range = frac_width == "auto"
        self.takes_noise = rounding == "nearest"
        self.covers_ends = self.takes_range and self.signed
        self.scale_bits = 32 if self.takes_range else 0
        self.range_source = "mse" if self.takes_range else "minmax"

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        least, most = self.code_range(num_bits)
        if self.frac_width == "auto":
            scale = high / most if not self.signed else torch.maximum(high / most, low / least)
            scale = _power_from_above(scale.clamp(min=MIN_SCALE))
        else:
            places = num_bits // 2 if isinstance(self.frac_width, str) else self.frac_width
            scale = torch.full_like(low, 2.0**-places)
        if low.dtype == torch.float32 and most >= 2**EXACT_BITS:
            most &= -(2 ** (most.bit_length() - EXACT_BITS))  # the largest code that fp32 has
        return QParams(scale, torch.zeros_like(scale), least, most)

    def code_range(self, num_bits: int) -> tuple[int, int]:
        return (-(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1) if self.signed else (0, 2**num_bits - 1)

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        negative = x < 0 if self.rounding == "floor" else None
        codes = torch.mul(x, qparams.scale.reciprocal(), out=out)  # by a power of two: exact, but may fall to 0
        if noise is not None:
            noise.add_to(codes)
        if negative is None:
            codes.round_()
        else:
            codes.floor_().masked_fill_(negative.logical_and_(codes == 0), -1)
        if clamp or noise is not None:
            codes.clamp_(qparams.quant_min, qparams.quant_max)
        return codes

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, qparams.scale, out=out)

    def special_values(self) -> dict[str, str]:
        end = "spoils the range" if self.takes_range else None
        return {"zero": "exact", "overflow": "clamped to the ends", "infinity": end or "clamped to the ends",
                "NaN": end or "stays NaN when simulated; has no code"}  # fmt: skip


def _power_from_above(x: Tensor) -> Tensor:
    """The smallest power of two that is not below x > 0; NaN of infinity and NaN."""
    narrow = x.float()
    # adding all ones carries into the exponent unless the mantissa is 0
    power = (narrow.view(torch.int32) + 0x7FFFFF).bitwise_and_(0x7F800000).view(torch.float32)
    return (power + (narrow - narrow)).to(x.dtype)
