"""A number format: from a range to a grid, from reals to codes on it, and back.

    grid      scale and zero point for values in [low, high]
    quantize  code = clamp(round(x in units of the grid + noise), qmin, qmax)
    dequantize  the real number that a code stands for

Codes are whole numbers kept in floating point, which holds every code of up to 16 bits exactly; `Quantizer.codes`
gives them as integers. Tensors handed to a format are fp32 (or fp64): the caller casts. `low`, `high` and the grid
broadcast against `x`.

>>> import torch
>>> from fairseq.quantization.formats import FORMATS
>>> affine = FORMATS.lookup("affine_int")()
>>> x = torch.tensor([-1.0, 0.0, 0.3, 2.0])
>>> grid = affine.grid(x.min(), x.max(), num_bits=2)
>>> affine.quantize(x, grid), affine.fake_quantize(x, grid)
(tensor([0., 1., 1., 3.]), tensor([-1.,  0.,  0.,  2.]))
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Optional, Protocol

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.registry import Registry


class Grid(NamedTuple):
    """The levels: `scale` apart, with codes from `low` to `high`; what `zero_point` means is the format's affair."""

    scale: Tensor
    zero_point: Tensor
    low: Any  # numbers, or tensors inside a compiled kernel, which must not depend on the bits
    high: Any


class Noise(Protocol):
    """Rounding noise: adds one number in [-1/2, 1/2] to each element, in place."""

    def add_to(self, x: Tensor) -> Tensor: ...


def rounded_multiple(x: Tensor, scale: Tensor, noise: Optional[Noise], out: Optional[Tensor]) -> Tensor:
    """round(x / scale + noise), by the reciprocal as torch's own quantizers do it, in `out` or a new tensor."""
    codes = torch.mul(x, scale.reciprocal(), out=out)
    if noise is not None:
        noise.add_to(codes)
    return codes.round_()


class NumberFormat(ABC):
    """One way of writing reals in few bits. Stateless: everything that varies is in the grid."""

    name: ClassVar[str]
    exact_zero: ClassVar[bool]  # real 0 is a level, whatever the range
    covers_ends: ClassVar[bool]  # both ends of the range round to levels without clamping
    min_bits: ClassVar[int] = 2
    max_bits: ClassVar[int] = 16
    numbers_per_scale: ClassVar[int] = 1  # fp32 numbers that describe one grid

    @abstractmethod
    def grid(self, low: Tensor, high: Tensor, num_bits: int) -> Grid:
        """The grid of 2**num_bits levels at most that covers [low, high]."""

    @abstractmethod
    def code_range(self, num_bits: int) -> tuple[int, int]:
        """Smallest and largest code."""

    @abstractmethod
    def quantize(
        self, x: Tensor, grid: Grid, noise: Optional[Noise] = None, out: Optional[Tensor] = None, clamp: bool = True
    ) -> Tensor:
        """Codes of `x`, in a new tensor or in `out`. `clamp=False` says that x lies inside the grid."""

    @abstractmethod
    def dequantize(self, codes: Tensor, grid: Grid, out: Optional[Tensor] = None) -> Tensor:
        """The reals that codes stand for; `out` may be `codes`."""

    def fake_quantize(
        self, x: Tensor, grid: Grid, noise: Optional[Noise] = None, out: Optional[Tensor] = None, clamp: bool = True
    ) -> Tensor:
        """`x` rounded to the grid's levels: quantize, then dequantize in the same buffer."""
        codes = self.quantize(x, grid, noise, out, clamp)
        return self.dequantize(codes, grid, out=codes)

    def max_value(self, num_bits: int) -> int:
        """Largest code, that is the largest value in units of the scale."""
        return self.code_range(num_bits)[1]

    def bits_per_value(self, num_bits: int, values_per_scale: Optional[int] = None) -> float:
        """Stored bits per value; `values_per_scale` spreads the grid's fp32 numbers over the values that share it."""
        overhead = 0.0 if values_per_scale is None else 32 * self.numbers_per_scale / values_per_scale
        return num_bits + overhead

    def check_bits(self, num_bits: int, where: str) -> int:
        """`num_bits` if this format has that many; ConfigError naming `where` otherwise."""
        if isinstance(num_bits, bool) or int(num_bits) != num_bits or not self.min_bits <= num_bits <= self.max_bits:
            raise ConfigError(
                f"{where}: {num_bits!r} bits; the format {self.name} has {self.min_bits} to {self.max_bits} "
                "(for full precision give `quantize: false`, or num_bits None)"
            )
        return int(num_bits)


FORMATS: Registry[type[NumberFormat]] = Registry("number format", __name__.rpartition(".")[0])
