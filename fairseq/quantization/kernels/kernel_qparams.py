"""A quantizer with one scale, as our C++ kernels take it: `KernelQParams` of grids.h.

>>> from fairseq.quantization.formats import build_format
>>> kernel_qparams = KernelQParams.of(build_format("symmetric"), 8)
>>> kernel_qparams.num_bits, kernel_qparams.has_range
(8, 0)
"""

import ctypes
from typing import Optional

from fairseq.quantization.formats import NumberFormat

SYMMETRIC = 1  # the `kernel_id` of the format that kernels for weights alone are made for


class KernelQParams(ctypes.Structure):
    """`KernelQParams` of grids.h. `has_offset`: values have an `offset` beside scale and zero point."""

    has_offset: bool

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("format", "num_bits", "has_range", "stochastic")),
        ("noise", ctypes.c_uint64),
        *((name, ctypes.c_float) for name in ("low", "high", "scale", "zero", "offset")),
        ("zero_point", ctypes.c_int32),
    ]

    @classmethod
    def of(
        cls,
        number_format: NumberFormat,
        num_bits: int,
        min_max: Optional[tuple[float, float]] = None,
        noise: Optional[int] = None,
    ) -> "KernelQParams":
        """A quantizer with one scale, of a format with a `kernel_id`.

        Args:
            min_max: its range, if known.
            noise: the hash state of stochastic rounding.
        """
        low, high = min_max or (0.0, 0.0)
        made = cls(number_format.kernel_id, num_bits, min_max is not None, noise is not None, noise or 0, low, high)
        made.has_offset = not number_format.has_exact_zero
        return made
