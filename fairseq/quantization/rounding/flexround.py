"""FlexRound: a weight is divided by learned factors before it is rounded, so that training decides which way it goes.

    y = s * (clamp(round(w / (s * f)) + z, qmin, qmax) - z),   f = exp(e) * exp(r)

s: the scale, one per range; e: one number per element; r: one per row (output channel). All start where y is plain
rounding with the format's own scale: e = r = 0. Rounding passes gradients straight through, clamping stops them:

    dL/dw = g / f,   dL/de = dL/dr = -g w / f,   dL/ds = g (code - w / (s f))     where code is inside, else 0 and
    dL/ds = g (qmin - z) or g (qmax - z)

so an element that is large may move by more than one level, and a small one stays where it is. Exponentials keep the
factors above 0, and weight decay draws them to plain rounding.

Lee et al., arXiv:2306.00317, equation 2 and section 3.1. They divide by S2 and s3 themselves; here these are exp(e) and
exp(r). Whoever evaluates has codes and a scale, as of plain rounding.

>>> from fairseq.quantization.context import QuantizationContext
>>> from fairseq.quantization.formats import build_format
>>> from fairseq.quantization.granularity import Granularity
>>> format, context = build_format("symmetric"), QuantizationContext()
>>> grid = FlexRound("w", format, Granularity("tensor"), (1,), 3, context, needs_data=False, values_shape=(1, 3))
>>> w = torch.tensor([[3.0, -1.4, 0.6]])
>>> grid(w, num_bits=3).detach()
tensor([[ 3., -1.,  1.]])
>>> _ = grid.element.data.copy_(torch.tensor([[0.0, -0.2, 0.5]]))           # -1.4 / 0.82, 0.6 / 1.65
>>> grid(w, num_bits=3).detach()
tensor([[ 3., -2.,  0.]])
"""

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.formats import QParams
from fairseq.quantization.formats.integer.uniform import MIN_SCALE
from fairseq.quantization.observers.base import extremes
from fairseq.quantization.rounding.learned_qparams import LEARNED_QPARAMS, LearnedQParams
from fairseq.quantization.rounding.straight_through import Plain, positive


@LEARNED_QPARAMS.register("flexround")
class FlexRound(LearnedQParams):
    """Learned division before rounding, for weights."""

    what = "rounding"
    by_element = True
    zero_point: Tensor

    def create_parameters(self, shape: tuple[int, ...]) -> None:
        if self.values_shape is None:
            raise ConfigError(f"{self.path}: learned flexround needs a weight of known shape")
        self.scale = nn.Parameter(torch.ones(shape))
        self.element = nn.Parameter(torch.zeros(self.values_shape))
        self.row = nn.Parameter(torch.zeros(self.values_shape[0], *[1] * (len(self.values_shape) - 1)))
        self.register_buffer("zero_point", torch.zeros(shape))

    def start(self, x: Tensor) -> None:
        qparams = self.format.qparams(*extremes(x, self.granularity.reduced(x)), self.calibration_bits)
        self.set_first(self.scale, qparams.scale)
        self.zero_point.copy_(qparams.zero_point.reshape(self.zero_point.shape))

    def at_bits(self, num_bits: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point at `num_bits`."""
        ratio = self.format.max_value(num_bits) / self.format.max_value(self.calibration_bits)
        return positive(self.scale / ratio, MIN_SCALE), (self.zero_point * ratio).round()

    def qparams(self, x: Tensor, num_bits: int) -> QParams:
        self.ensure_initialized(x)
        scale, zero = self.at_bits(num_bits)
        return QParams(scale.detach(), zero, *self.format.code_range(num_bits))

    def steered(self, x: Tensor) -> Tensor:
        return x * (-self.element - self.row).exp()

    def forward(self, x: Tensor, num_bits: int) -> Tensor:
        self.ensure_initialized(x)
        scale, zero = self.at_bits(num_bits)
        steps = self.steered(x) * scale.reciprocal()  # as `rounded_multiple` has it
        codes = Plain.apply(steps, steps.detach().round()).add(zero)  # type: ignore[no-untyped-call]
        inside = codes.clamp(*self.format.code_range(num_bits))
        return (inside - zero) * scale
