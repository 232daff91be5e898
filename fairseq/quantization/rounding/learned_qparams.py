"""The trained part of a quantizer: parameters for a scale (and zero point) or a clip, and where they start.

`LEARNED_QPARAMS` finds the kinds; a new one is one file in this folder.

Parameters are created with the module and get their first values from the first tensor seen in training: the mean
magnitude (LSQ), the range (a zero point) or the largest magnitude (a clip).

A scale or clip is the parameter's magnitude: training may take the parameter across zero, as momentum does at small
scales, and evaluation and packed weights always have a scale above 0. With levels around zero both signs mean the same.

>>> from fairseq.quantization.formats import build_format
>>> format, context = build_format("symmetric"), QuantizationContext()
>>> grid = LSQ("w", format, Granularity("tensor"), (1,), 4, context, needs_data=False)
>>> grid(torch.tensor([1.0, -1.0, 4.0]), num_bits=4), grid.scale.data     # 2 * mean 2 / sqrt(7)
(tensor([ 1.5119, -1.5119,  4.5356], grad_fn=<LearnedScaleBackward>), tensor([1.5119]))
"""

from typing import ClassVar, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, TrainingError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.formats.integer.uniform import MIN_SCALE
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.metadata_state import MetadataState
from fairseq.quantization.observers.base import extremes
from fairseq.quantization.registry import Registry
from fairseq.quantization.rounding.learned import LearnedClip, LearnedScale
from fairseq.quantization.rounding.straight_through import positive


class LearnedQParams(MetadataState):
    """Base of all kinds.

    Args:
        path: the quantizer's path.
        number_format, granularity: the quantizer's; the format is uniform and has an exact zero.
        shape: of the parameters; broadcasts against the tensor.
        calibration_bits: bits for which a scale is learned; at other bits the grid keeps its extent.
        context: state shared by the model's quantizers.
        needs_data: False for weights, which are at hand also without training.
        values_shape: of the tensor, for a weight; of an activation its last axis, where that is known.

    Attributes:
        what: what is learned, in messages.
        by_element: there are parameters for each element.
    """

    initialized: Tensor
    what: ClassVar[str] = ""
    by_element: ClassVar[bool] = False

    def __init__(
        self,
        path: str,
        number_format: NumberFormat,
        granularity: Granularity,
        shape: tuple[int, ...],
        calibration_bits: int,
        context: QuantizationContext,
        needs_data: bool,
        values_shape: Optional[tuple[int, ...]] = None,
    ):
        super().__init__()
        self.values_shape = values_shape
        self.path, self.format, self.granularity = path, number_format, granularity
        self.calibration_bits, self.context, self.needs_data = calibration_bits, context, needs_data
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))
        self.is_initialized = False  # the same without asking the device
        self.create_parameters(shape)

    @classmethod
    def check(cls, number_format: NumberFormat, path: str, name: str) -> None:
        """ConfigError where the kind, by its `name`, does not suit the format."""
        if not (number_format.is_uniform and number_format.has_exact_zero and number_format.scale_is_free):
            raise ConfigError(
                f"{path}: learned {name} needs evenly spaced levels with an exact zero and a free scale, "
                f"which the format {number_format} does not have"
            )

    def create_parameters(self, shape: tuple[int, ...]) -> None:
        raise NotImplementedError

    def start(self, x: Tensor) -> None:
        """Give the parameters their first values."""
        raise NotImplementedError

    def qparams(self, x: Tensor, num_bits: int) -> QParams:
        """The levels in force, without gradients."""
        raise NotImplementedError

    def steered(self, x: Tensor) -> Tensor:
        """What is rounded to those levels in place of `x`."""
        return x

    def ensure_initialized(self, x: Tensor) -> None:
        """Start from `x` if nothing has been seen yet."""
        if not self.is_initialized:
            self._initialize(x)

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> None:
        if self.needs_data and not (self.training or self.context.calibrating):
            raise TrainingError(
                f"quantizer {self.path!r} has no learned {self.what}: it has seen no data; "
                "train, calibrate by model.quantization.calibrate(model, batches), or load a checkpoint that holds "
                "quantizer state"
            )
        self.start(x)
        self.initialized.fill_(True)
        self.is_initialized = True

    def set_first(self, parameter: nn.Parameter, value: Tensor) -> None:
        """`value` as the parameter's first one, the same in every process."""
        value = value.reshape(parameter.shape)
        if self.needs_data and torch.distributed.is_available() and torch.distributed.is_initialized():
            # every process sees another batch, and no later step would bring their parameters together
            torch.distributed.all_reduce(value)
            value /= torch.distributed.get_world_size()
        parameter.copy_(value)

    def after_load(self, found: bool) -> None:
        if not found:
            self.initialized.fill_(False)
        self.is_initialized = bool(self.initialized)


LEARNED_QPARAMS: Registry[type[LearnedQParams]] = Registry("learned", __name__.rpartition(".")[0])


@LEARNED_QPARAMS.register("scale")
class LSQ(LearnedQParams):
    """Learned step size (LSQ); formats without sign also learn a zero point (LSQ+)."""

    what = "scale"

    def create_parameters(self, shape: tuple[int, ...]) -> None:
        self.scale = nn.Parameter(torch.ones(shape))
        has_zero_point = not self.format.is_signed(self.calibration_bits)
        self.zero_point = nn.Parameter(torch.zeros(shape)) if has_zero_point else None

    def start(self, x: Tensor) -> None:
        axes = self.granularity.reduced(x)
        if self.zero_point is not None:
            qparams = self.format.qparams(*extremes(x, axes), self.calibration_bits)
            self.set_first(self.scale, qparams.scale)
            self.set_first(self.zero_point, qparams.zero_point)
        else:
            mean = x.abs().mean(axes, keepdim=True) if axes else x.abs()
            scale = 2 * mean / self.format.max_value(self.calibration_bits) ** 0.5
            self.set_first(self.scale, scale.clamp(min=MIN_SCALE))

    def at_bits(self, num_bits: int) -> tuple[Tensor, Optional[Tensor]]:
        """Scale and zero point at `num_bits`, with gradients."""
        ratio = self.format.max_value(num_bits) / self.format.max_value(self.calibration_bits)
        return positive(self.scale / ratio, MIN_SCALE), None if self.zero_point is None else self.zero_point * ratio

    def qparams(self, x: Tensor, num_bits: int) -> QParams:
        self.ensure_initialized(x)
        scale, zero = self.at_bits(num_bits)
        low, high = self.format.code_range(num_bits)
        return QParams(scale, torch.zeros_like(scale) if zero is None else zero.round().clamp(low, high), low, high)

    def forward(self, x: Tensor, num_bits: int) -> Tensor:
        self.ensure_initialized(x)
        scale, zero = self.at_bits(num_bits)
        low, high = self.format.code_range(num_bits)
        factor = (self.granularity.values_per_range(tuple(x.shape)) * high) ** -0.5
        return LearnedScale.apply(x, scale, zero, low, high, factor)  # type: ignore[no-any-return, no-untyped-call]


@LEARNED_QPARAMS.register("clip")
class PACT(LearnedQParams):
    """Learned clip (PACT)."""

    what = "clip"

    def create_parameters(self, shape: tuple[int, ...]) -> None:
        self.clip = nn.Parameter(torch.ones(shape))

    def start(self, x: Tensor) -> None:
        low, high = extremes(x, self.granularity.reduced(x))
        self.set_first(self.clip, torch.maximum(-low, high))

    def qparams(self, x: Tensor, num_bits: int) -> QParams:
        self.ensure_initialized(x)
        clip = positive(self.clip)
        low = -clip if self.format.is_signed(num_bits) else torch.zeros_like(clip)
        return self.format.qparams(low, clip, num_bits)

    def forward(self, x: Tensor, num_bits: int) -> Tensor:
        self.ensure_initialized(x)
        return LearnedClip.apply(x, positive(self.clip), self.format, num_bits)  # type: ignore[no-any-return, no-untyped-call]
