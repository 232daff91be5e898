"""What formats with an exponent for each value share: rounding by `significand.py`, codes that count the levels.

    value = sign(code) * magnitude[|code|] * scale       magnitude: the levels from 0 upwards

Without a scale the levels are what they are: a value is cast, its range is not looked at. With one
(`scaled: true`) the largest level is the largest magnitude of the range.
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.cached import cached_tensors
from fairseq.quantization.formats.base import FloatCodes, Noise, NumberFormat, QParams
from fairseq.quantization.formats.fields import flag
from fairseq.quantization.formats.float.significand import Digits, native_fields, round_significand

MOST_BITS = 16
MIN_SCALE = torch.finfo(torch.float32).tiny


class FloatFormat(NumberFormat):
    """A sign, and levels that `digits` describes.

    Args of its classes: `scaled`: levels are multiplied by a scale that is found from the range.
    """

    is_uniform = False
    has_exact_zero = True
    is_symmetric = True
    digits: Digits

    def _settle(self, width: int, digits: Digits, scaled: bool) -> None:
        """Take the settings in; ConfigError where no such format can be."""
        if not 2 <= width <= MOST_BITS:
            raise ConfigError(f"format {self.name}: sign, exponent and mantissa take {width} bits; at most {MOST_BITS}")
        if digits.max_exponent < digits.min_exponent or digits.largest <= 0:
            raise ConfigError(
                f"format {self.name}: these settings leave no exponent for numbers; give more exponent bits"
            )
        if digits.max_exponent > 127 or digits.min_exponent - digits.mantissa_bits < -149:
            raise ConfigError(
                f"format {self.name}: values from 2^{digits.min_exponent - digits.mantissa_bits} to "
                f"2^{digits.max_exponent} do not all lie in fp32; give another bias or fewer exponent bits"
            )
        self.digits = digits
        self.ties = "even" if digits.mantissa_bits else "outward"
        self.scaled = flag(scaled, "scaled", self.name)
        self.takes_range = self.covers_ends = self.scale_is_free = scaled
        self.scale_bits = 32 if scaled else 0
        self.fixed_bits = self.min_bits = self.max_bits = width

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        scale = torch.ones_like(low)
        if self.scaled:
            scale = (torch.maximum(-low, high) / self.digits.largest).clamp(min=MIN_SCALE)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        most = _count(self.digits) - 1
        return -most, most

    def stored_codes(self, num_bits: int) -> tuple[int, int]:
        """Behind the outermost level, what overflows has a code: infinities one each, NaN one below."""
        low, high = self.code_range(num_bits)
        return low - (self.digits.overflow is not None), high + (self.digits.overflow == "inf")

    def float_codes(self, num_bits: int) -> Optional[FloatCodes]:
        digits = self.digits
        return FloatCodes(digits.mantissa_bits, digits.min_exponent) if digits.subnormals else None

    def fake_quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        return round_significand(x, self.digits, noise, out, qparams.scale if self.scaled else None)

    def native_digits(self) -> Optional[tuple[float, ...]]:
        return native_fields(self.digits)

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        units = round_significand(x / qparams.scale if self.scaled else x, self.digits, noise)
        codes = torch.searchsorted(self.magnitudes(x), units.abs().contiguous()).to(x.dtype)
        if self.digits.overflow == "nan":  # NaN has one code, as in fnuz
            codes = torch.where(units.isnan(), -codes, codes.copysign_(units))
        else:
            codes.copysign_(units)
        return codes if out is None else out.copy_(codes)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        magnitudes = self.magnitudes(codes)
        if self.digits.overflow is not None:
            magnitudes = torch.cat([magnitudes, magnitudes.new_tensor([float(self.digits.overflow)])])
        values = magnitudes[codes.abs().long()].mul_(codes.sign())
        values = values.mul_(qparams.scale) if self.scaled else values
        return values if out is None else out.copy_(values)

    def magnitudes(self, like: Tensor) -> Tensor:
        """The levels from 0 upwards (N,), of the type and on the device of `like`."""
        return _magnitudes(self.digits, like.dtype, like.device)

    def max_value(self, num_bits: int) -> float:
        return self.digits.largest

    def special_values(self) -> dict[str, str]:
        digits = self.digits
        above = f"saturates at {digits.largest:g}" if digits.overflow is None else f"becomes {digits.overflow}"
        least = 2.0 ** (digits.min_exponent - (digits.mantissa_bits if digits.subnormals else 0))
        below = f"multiples of {least:g}" if digits.subnormals else f"none: 0, then {least:g}"
        spoils = "spoils the range" if self.scaled else None
        return {"zero": "exact, without a sign", "subnormals": below, "overflow": above, "infinity": spoils or above,
                "NaN": spoils or "stays NaN when simulated; weights with it are not packed"}  # fmt: skip


def _count(digits: Digits) -> int:
    """How many levels are not negative."""
    per_binade = 2**digits.mantissa_bits
    top = int(digits.largest / 2.0 ** (digits.max_exponent - digits.mantissa_bits)) - per_binade + 1
    below = per_binade if digits.subnormals else 1
    return below + (digits.max_exponent - digits.min_exponent) * per_binade + top


@cached_tensors(maxsize=64)
def _magnitudes(digits: Digits, dtype: torch.dtype, device: torch.device) -> Tensor:
    step, per_binade = 2.0 ** (digits.min_exponent - digits.mantissa_bits), 2**digits.mantissa_bits
    levels = [count * step for count in range(per_binade)] if digits.subnormals else [0.0]
    while len(levels) < _count(digits):
        levels += [count * step for count in range(per_binade, 2 * per_binade)]
        step *= 2
    return torch.tensor(levels[: _count(digits)], dtype=dtype, device=device)
