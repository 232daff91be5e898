"""What integer formats share: evenly spaced levels, and x over the scale rounded to a whole number.

round(x * (1 / scale) + u)      u: rounding noise, or 0
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import Noise, NumberFormat

# the smallest scale whose reciprocal is finite; far below any gradient, unlike an absolute 1e-8
MIN_SCALE = torch.finfo(torch.float32).tiny


class IntegerFormat(NumberFormat):
    """A uniform format."""

    is_uniform = True


def rounded_multiple(x: Tensor, scale: Tensor, noise: Optional[Noise], out: Optional[Tensor]) -> Tensor:
    """round(x / scale + noise), by the reciprocal as torch's own quantizers do it, in `out` or a new tensor."""
    codes = torch.mul(x, scale.reciprocal(), out=out)
    if noise is not None:
        noise.add_to(codes)
    return codes.round_()
