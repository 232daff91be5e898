"""Ranges for evaluation that training keeps up to date.

While training a tensor is quantized with its own range r, and a running range R is updated once per update with the
mean r over the update's micro-batches and processes. In evaluation R is used.

    ema_from_zero  R <- m R + (1 - m) r         for the minimum and for the width apart, from 0 (CPT's; alias running)
    ema            the same, divided by the sum of the weights so far, 1 - m^n after n updates: right from the first one

Calibrating does the same with m = n/(n+1), so that R is the plain mean of the n batches so far, whatever it was before.
Both wrap another source of ranges (`of`), min-max if none is named.

>>> from fairseq.quantization.formats import build_format
>>> request = Request(axes=(0,), format=build_format("affine_float_zp"), num_bits=8)
>>> observer = ExponentialAverage(momentum=0.9, shape=(1,))
>>> _ = observer(torch.tensor([-1.0, 3.0]), request)
>>> observer.eval()(torch.tensor([0.0]), request)
Range(low=tensor([-1.]), high=tensor([3.]), covers=False)
"""

import ctypes
import math
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError, TrainingError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request
from fairseq.quantization.registry import build


class RunningObserver(Observer):
    """A running range beside the current one.

    Args:
        momentum: weight of the past, from 0 up to but not including 1.
        of: the source that is averaged, a name or `{name: ..., options}`.
        shape: the range's shape (all ones for one range per tensor).
        context: shared state of the model, which knows where an update ends.
        where: the quantizer's path, for error messages.
    """

    is_running = True
    running_low: Tensor
    running_width: Tensor
    weight: Tensor
    pending: Tensor

    def __init__(
        self,
        momentum: float = 0.9,
        of: Any = "minmax",
        shape: tuple[int, ...] = (1,),
        context: Optional[QuantizationContext] = None,
        where: str = "range",
    ):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ConfigError(f"{where}: momentum must lie from 0 up to below 1, got {momentum}")
        self.momentum = momentum
        self.source = build_observer(of, where=where)
        if self.source.is_running:
            raise ConfigError(f"{where}: a running range cannot average another running range")
        self.context = context or QuantizationContext()
        self.where = where
        self.register_buffer("running_low", torch.zeros(shape))
        self.register_buffer("running_width", torch.zeros(shape))
        self.register_buffer("weight", torch.zeros(()))
        # sums over the micro-batches of an update that is not over: low, width
        self.register_buffer("pending", torch.zeros(2, *shape), persistent=False)
        self.pending_count = 0
        self.pending_update = -1
        self.calibrated = 0  # batches of the calibration under way
        self.has_data = False  # weight > 0, without asking the device

    def forward(self, x: Tensor, request: Request) -> Range:
        if not (self.training or self.context.calibrating):
            return self.evaluation_range(x)
        current = self.source(x, request)
        self.update(current)
        return current

    def update(self, current: Range) -> None:
        """Take account of a range seen in training."""
        if self.context.frozen:
            return
        added = torch.stack([current.low, current.high - current.low]).view_as(self.pending)
        with self.context.lock:
            if self.pending_count and self.pending_update != self.context.update:
                self.commit()
            self.pending += added
            self.pending_count += 1
            self.pending_update = self.context.update

    def evaluation_range(self, x: Tensor) -> Range:
        """The running range, shaped to broadcast against `x`."""
        self._complete()
        low, width = self.corrected()
        if low.numel() == 1:
            low, width = low.view([1] * x.dim()), width.view([1] * x.dim())
        return Range(low, low + width, covers=False)

    def evaluation_numbers(self) -> tuple[float, float]:
        """Both ends of `evaluation_range`, of a tensor as a whole."""
        low, high, _ = self.evaluation_range(torch.empty(()))
        return float(low), float(high)

    def _complete(self) -> None:
        self.commit()
        if not self.has_data:
            raise TrainingError(
                f"quantizer {self.where!r} has no range, because it has seen no data (or none without inf and NaN): "
                "train, calibrate by model.quantization.calibrate(model, batches), or load a checkpoint that holds "
                "quantizer state"
            )

    def corrected(self) -> tuple[Tensor, Tensor]:
        """Minimum and width as they are used."""
        return self.running_low, self.running_width

    def coverage(self) -> float:
        """Share of the true width that the evaluation range holds: less than 1 where it has grown from 0 for too few
        updates to have arrived.
        """
        return 1.0

    def commit(self) -> None:
        """Fold what the update has shown into the running range; nothing where it is not finite."""
        if not self.pending_count:  # nearly always so in evaluation
            return
        with self.context.lock:
            if not self.pending_count:
                return
            calibrating = self.context.calibrating
            momentum = self.calibrated / (self.calibrated + 1) if calibrating else self.momentum
            one_number = self.running_low.numel() == 1 and self.running_low.device.type == "cpu"
            if (self._fold_numbers if one_number else self._fold)(momentum):
                self.calibrated += calibrating
                self.has_data = True
            self.forget()

    def _fold(self, momentum: float) -> bool:
        """False where nothing was folded; in training, no device is waited for to know it."""
        low, width = self.pending / self.pending_count
        # a diverged batch must not poison the range for good
        finite = (low.isfinite() & width.isfinite()).all()
        one = torch.ones_like(self.weight)
        for running, value in ((self.running_low, low), (self.running_width, width), (self.weight, one)):
            new = running * momentum + value * (1 - momentum)
            running.copy_(torch.where(finite, new, running))
        return bool(finite) if self.context.calibrating or finite.device.type == "cpu" else True

    def _fold_numbers(self, momentum: float) -> bool:
        """`_fold` for one range, where tensors' operations would cost more than the arithmetic; to the last bit."""
        low, width = (_rounded(number / self.pending_count) for number in self.pending.flatten().tolist())
        if not (math.isfinite(low) and math.isfinite(width)):
            return False
        past, present = _rounded(momentum), _rounded(1 - momentum)
        for running, value in ((self.running_low, low), (self.running_width, width), (self.weight, 1.0)):
            running.fill_(_rounded(_rounded(running.item() * past) + _rounded(value * present)))
        return True

    def forget(self) -> None:
        """Drop the sums of an unfinished update."""
        self.pending.zero_()
        self.pending_count = 0

    def train(self, mode: bool = True) -> "RunningObserver":
        if not mode:
            self.commit()  # what evaluates, or exports, reads a range that is complete
        return super().train(mode)

    def before_save(self) -> None:
        self.commit()

    def after_load(self, found: bool) -> None:
        self.forget()
        if not found:
            for tensor in self.hidden_tensors().values():
                tensor.zero_()
        self.has_data = bool(self.weight > 0)


def _rounded(number: float) -> float:
    """The nearest fp32 number: of a sum, product or quotient of two such numbers, what fp32 arithmetic gives."""
    return ctypes.c_float(number).value


@OBSERVERS.register("ema_from_zero", "running")
class AverageFromZero(RunningObserver):
    """CPT's QuantMeasure: average without correction, so the range grows from 0 over the first updates."""

    def coverage(self) -> float:
        return float(self.weight)


@OBSERVERS.register("ema")
class ExponentialAverage(RunningObserver):
    """Average with bias correction."""

    def evaluation_numbers(self) -> tuple[float, float]:
        if type(self) is not ExponentialAverage or self.running_low.device.type != "cpu":
            return super().evaluation_numbers()
        self._complete()  # the same to the last bit, without operations of tensors
        weight = self.weight.item()
        low, width = _rounded(self.running_low.item() / weight), _rounded(self.running_width.item() / weight)
        return low, _rounded(low + width)

    def corrected(self) -> tuple[Tensor, Tensor]:
        return self.running_low / self.weight, self.running_width / self.weight


def build_observer(source: Any, where: str = "range", **tracking: Any) -> Observer:
    """An observer from a name or from `{name: ..., option: value}`; `tracking` (shape, context) is for running ones."""
    options = {"name": source} if isinstance(source, str) else dict(source)
    name = options.pop("name", None)
    if name is None:
        raise ConfigError(f"{where}: a range source given as a mapping needs a name")
    kind = OBSERVERS.lookup(name)
    extra = {**tracking, "where": where} if kind.is_running else {}
    return build(kind, options, f"{where}: range {name}", **extra)
