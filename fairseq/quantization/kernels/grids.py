"""A quantizer with one scale as our own kernels are told of it: `Levels` of grids.h.

>>> levels = Levels.of("symmetric", 8)
>>> levels.num_bits, levels.given
(8, 0)
"""

import ctypes
from typing import Optional

FORMATS = {"affine_int": 0, "symmetric": 1, "affine": 2}


class Levels(ctypes.Structure):
    """`Levels` of grids.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("format", "num_bits", "given", "stochastic")),
        ("noise", ctypes.c_uint64),
        *((name, ctypes.c_float) for name in ("low", "high", "scale", "zero", "shift")),
        ("zero_point", ctypes.c_int32),
    ]

    @classmethod
    def of(
        cls,
        number_format: str,
        num_bits: int,
        given: Optional[tuple[float, float]] = None,
        noise: Optional[int] = None,
    ) -> "Levels":
        """A quantizer with one scale: `given` is its range if known, `noise` the hash state of stochastic rounding."""
        low, high = given or (0.0, 0.0)
        return cls(FORMATS[number_format], num_bits, given is not None, noise is not None, noise or 0, low, high)
