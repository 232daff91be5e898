"""What block formats share: blocks, the scale rule, and elements that are integers or small floating-point numbers.

    scale = shared_scale(largest magnitude of the block)        `scales.py`
    value = element * scale

A block is `block_size` neighbours on the axis over which a product sums, or `[rows, columns]` of a matrix. Where it
does not divide the axis, the last block is a shorter one; no block reaches over the end of a row. Each of a layer's
three products sums over an axis of its own, so operands are rounded anew for each (`products/simulated.py`), unless
blocks are square. One infinity or NaN makes its whole block NaN.

The range of a tensor is found per block; `range: minmax` gives the format's own rule.
"""

import math
from collections.abc import Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.formats.base import FloatCodes, Noise, NumberFormat, QParams
from fairseq.quantization.formats.block.scales import SCALE_RULES, carry, exponent_of, power_of_two, shared_scale
from fairseq.quantization.formats.float.bit_patterns import magnitude_codes, values_of_codes
from fairseq.quantization.formats.float.significand import Digits, round_significand

BlockSize = Union[int, Sequence[int]]


class BlockFormat(NumberFormat):
    """A power of two per block.

    Args:
        block_size: neighbours that share a scale, or [rows, columns].
        scale_rule: which power of two: floor, ceil, even or rceil.
        width: bits of an element; None: the bits in force.
    """

    has_exact_zero = True
    covers_ends = False  # a rule may clamp the largest values
    is_symmetric = True
    compiles = False  # by `kernels/blocks.py`, which has scales and rounding in one pass
    scale_bits = 8

    def __init__(self, block_size: BlockSize, scale_rule: str, width: Optional[int]):
        if width is not None:
            self.fixed_bits = self.min_bits = self.max_bits = width
        self.block_size = checked_block_size(self.name, block_size)
        if scale_rule not in SCALE_RULES:
            raise ConfigError(unknown("scale_rule", str(scale_rule), SCALE_RULES, where=f"format {self.name}"))
        self.scale_rule = scale_rule

    @property
    def block(self) -> Optional[tuple[int, int]]:
        return (1, self.block_size) if isinstance(self.block_size, int) else self.block_size

    def element(self, num_bits: int) -> tuple[float, int]:
        """The largest element and the bits of its mantissa."""
        raise NotImplementedError

    def least_normal(self, num_bits: int) -> int:
        """The exponent of the least element that is a normal number."""
        raise NotImplementedError

    def scale_exponents(self, num_bits: int) -> tuple[int, int]:
        """The least and the largest exponent of a scale."""
        return -127, 127  # E8M0

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        amax = torch.maximum(low.abs(), high.abs())
        scale = shared_scale(amax, *self.element(num_bits), self.scale_rule, self.scale_exponents(num_bits))
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))

    def native_blocks(self, num_bits: int) -> Optional[tuple[float, ...]]:
        if not isinstance(self.block_size, int):
            return None
        largest, mantissa_bits = self.element(num_bits)
        return (
            self.block_size,
            carry(largest, mantissa_bits, self.scale_rule, 23),
            math.frexp(largest)[1] - 1,
            *self.scale_exponents(num_bits),
            2.0 ** self.least_normal(num_bits),
            1.5 * 2.0 ** (23 - mantissa_bits),
            largest,
            0.0,
        )

    def bits_per_value(self, num_bits: int, values_per_scale: Optional[int] = None) -> float:
        rows, columns = self.block or (1, 1)
        return super().bits_per_value(num_bits, values_per_scale or rows * columns)

    def special_values(self) -> dict[str, str]:
        spoiled = "makes its block NaN"
        return {**super().special_values(), "infinity": spoiled, "NaN": spoiled}

    # --- storage --------------------------------------------------------------------------------------------------

    def stored_scales(self, parts: Sequence[QParams], num_bits: int) -> tuple[Tensor, ...]:
        """Bytes: the exponent, counted from the least one."""
        least = self.scale_exponents(num_bits)[0]
        return tuple((exponent_of(part.scale) - least).to(torch.uint8) for part in parts)

    def scales_of(self, stored: Sequence[Tensor], num_bits: int) -> tuple[Tensor, ...]:
        least = self.scale_exponents(num_bits)[0]
        return tuple(power_of_two(part.int() + least, torch.float32) for part in stored)

    def stored_layout(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        return [(torch.uint8, shape) for shape in shapes]


class BlockOfIntegers(BlockFormat):
    """Elements are the integers from -q to q, q = 2^(b-1) - 1, and a scale is the distance of neighbouring values.

    -q - 1, which two's complement has too, is left unused: a block and its negative round alike.
    """

    is_uniform = True

    def element(self, num_bits: int) -> tuple[float, int]:
        return 2.0 ** (num_bits - 1) - 1, num_bits - 2

    def least_normal(self, num_bits: int) -> int:
        return num_bits - 2  # that of the largest: steps are the same everywhere

    def code_range(self, num_bits: int) -> tuple[int, int]:
        largest = 2 ** (num_bits - 1) - 1
        return -largest, largest

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        codes = torch.div(x, qparams.scale, out=out)  # exact; the reciprocal of the least scale is not finite
        if noise is not None:
            noise.add_to(codes)
        codes.round_().add_(0.0)  # zeros without a sign, as the kernel has them
        return codes.clamp_(qparams.quant_min, qparams.quant_max) if clamp or noise is not None else codes

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        return torch.mul(codes, qparams.scale, out=out)


class BlockOfFloats(BlockFormat):
    """Elements are small floating-point numbers with subnormals; values beyond the largest are clamped.

    Attributes:
        mantissa_bits: of an element.
        least_exponent: of the least normal element.
        largest: element.
    """

    is_uniform = False
    mantissa_bits: int
    least_exponent: int
    largest: float

    def element(self, num_bits: int) -> tuple[float, int]:
        return self.largest, self.mantissa_bits

    def least_normal(self, num_bits: int) -> int:
        return self.least_exponent

    def code_range(self, num_bits: int) -> tuple[int, int]:
        fraction, exponent = math.frexp(self.largest)  # from 1/2 to 1
        field = exponent - self.least_exponent
        most = int((field - 1 + 2 * fraction) * 2**self.mantissa_bits)
        return -most, most

    def max_value(self, num_bits: int) -> float:
        return self.largest

    def float_codes(self, num_bits: int) -> Optional[FloatCodes]:
        return FloatCodes(self.mantissa_bits, self.least_exponent)

    def quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        elements = self._elements(x, qparams, noise, out)
        return magnitude_codes(elements, self.mantissa_bits, self.least_exponent, out=elements)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        elements = values_of_codes(codes, self.mantissa_bits, self.least_exponent, out=out)
        return elements.mul_(qparams.scale)

    def fake_quantize(
        self, x: Tensor, qparams: QParams, noise: Optional[Noise] = None, out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:  # fmt: skip
        return self._elements(x, qparams, noise, out).mul_(qparams.scale)

    def _elements(self, x: Tensor, qparams: QParams, noise: Optional[Noise], out: Optional[Tensor]) -> Tensor:
        scaled = torch.div(x, qparams.scale, out=out)
        digits = Digits(self.mantissa_bits, self.least_exponent, math.frexp(self.largest)[1] - 1, self.largest)
        return round_significand(scaled, digits, noise, out=scaled)


def checked_block_size(name: str, block_size: Any) -> Union[int, tuple[int, int]]:
    """A block size as a number or (rows, columns)."""
    is_list = isinstance(block_size, Sequence) and not isinstance(block_size, str)
    sizes = list(block_size) if is_list else [1, block_size]
    if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
        raise ConfigError(
            f"format {name}: block_size must be a whole number above 0 or [rows, columns], got {block_size!r}"
        )
    return sizes[1] if sizes[0] == 1 else (sizes[0], sizes[1])


def checked_width(name: str, field: str, value: Any, least: int, most: int) -> int:
    """A setting that is a whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(f"format {name}: {field} must be a whole number from {least} to {most}, got {value!r}")
    return int(value)
