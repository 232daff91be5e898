"""Binary numbers: a sign and a scale.

    value = a sign(x),   a = mean |x|,   sign(0) = +1

a has the least squared error of all scales (XNOR-Net, Rastegari et al., arXiv:1603.05279, equation 6); it is taken over
the values that share it, so granularity `channel` makes one per row of a weight. Stochastic rounding takes +1 with
probability (x / a + 1) / 2, clamped to [0, 1] (BinaryConnect, arXiv:1511.00363, equation 2 with its scale of 1).
`scale: power_of_two` takes 2^round(log2 mean |x|) in place of a, so that products need shifts only (IR-Net, Qin et al.,
arXiv:1909.10788, equation 7).

0 is no level: a tensor of zeros gets the smallest scale there is, 1.2e-38, whose sum with anything else is the other.

>>> number_format = Binary()
>>> x = torch.tensor([3.0, -1.0, 0.0, -0.0])
>>> number_format.fake_quantize(x, number_format.qparams(*number_format.statistic(x, axes=(0,)), num_bits=1))
tensor([ 1., -1.,  1.,  1.])
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS
from fairseq.quantization.formats.codebook.levels import CodebookFormat, mean_of
from fairseq.quantization.formats.fields import choice

SCALES = ("mean", "power_of_two")


@FORMATS.register("binary")
class Binary(CodebookFormat):
    """-a and a.

    Args:
        scale: `mean`: the mean magnitude; `power_of_two`: the power of two that is next to it in the logarithm.
    """

    name = "binary"
    has_exact_zero = False
    fixed_bits = min_bits = max_bits = 1

    def __init__(self, *, scale: str = "mean"):
        self.scale = choice(scale, "scale", self.name, SCALES)

    def levels(self, num_bits: int) -> Sequence[float]:
        return (-1.0, 1.0)

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """-a and a."""
        level = mean_of(x.abs(), axes)
        if self.scale == "power_of_two":
            level = torch.where(level > 0, level, 1.0).log2_().round_().exp2_() * (level > 0)
        return -level, level


@FORMATS.register("binary_unsigned")
class BinaryUnsigned(CodebookFormat):
    """0 and a, for tensors that are nowhere negative: behind a ReLU or a softmax.

    a is the mean of the values that are not below the mean; what exceeds a / 2 becomes a, everything else 0. (After a
    softmax every value is positive, so that a threshold of 0 would make all of them equal.) Where to use it: BiT's rule
    of two sets, Liu et al., arXiv:2205.13016.
    """

    name = "binary_unsigned"
    is_symmetric = False
    holds_gradients = False
    fixed_bits = min_bits = max_bits = 1

    def levels(self, num_bits: int) -> Sequence[float]:
        return (0.0, 1.0)

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """0 and a."""
        positive = x.clamp(min=0)
        level = mean_of(positive, axes, only=positive >= mean_of(positive, axes))
        if axes:
            # the mean of equal values may be rounded to above all of them; and clamping must not hide an infinity
            level = torch.where(level > 0, level, x.amax(axes, keepdim=True).clamp_(min=0))
            level = torch.where(x.amin(axes, keepdim=True) == -torch.inf, torch.inf, level)
        return torch.zeros_like(level), level
