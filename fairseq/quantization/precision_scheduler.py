"""`PrecisionScheduler`: a precision schedule in a training loop of one's own, as torch's lr_scheduler is for rates.

    model = quantize_model(model, "cpt_4_8")
    scheduler = PrecisionScheduler(model, total_updates=1000)
    for x, y in batches:                         # as many as there are updates
        loss = loss_of(model(x), y)              # in training, the model runs at scheduler.bits
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()

or, where the loop is over updates, `for bits in scheduler:` with `step()` done at the end of each turn. Calls in
evaluation mode run at the declared evaluation bits; a call that names `num_bits` runs at those. Several calls in
training between two steps are the micro-batches of one update.

The last update runs at the upper bound. A schedule that follows the loss wants it: `scheduler.step(loss=loss)`. The one
that follows gradients looks at `grad` of the parameters: call `step()` before they are set to zero.

A run that is resumed goes on to the bit, if the checkpoint holds the scheduler beside model and optimizer:

    torch.save({"model": model.state_dict(), "optimizer": ..., "precision": scheduler.state_dict()}, path)
    scheduler.load_state_dict(torch.load(path)["precision"])

>>> from fairseq.quantization import quantize_model
>>> model = quantize_model(nn.Sequential(nn.Linear(4, 4)), "cpt_4_8", schedule={"num_cycles": 2})
>>> scheduler = PrecisionScheduler(model, total_updates=6)
>>> [bits for bits in scheduler if model(torch.randn(2, 4)).sum().backward() is None]
[4, 5, 7, 4, 5, 8]
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import CheckpointError, ConfigError
from fairseq.quantization.metadata_state import load_quantizer_state, quantizer_state
from fairseq.quantization.quantized_model import get_quantization
from fairseq.quantization.schedule_run import ScheduleRun
from fairseq.quantization.schedules.base import PrecisionSchedule, schedule_of

logger = logging.getLogger(__name__)


class PrecisionScheduler:
    """Gives each update of a training loop its bits.

    Args:
        model: quantized by `quantize_model`, also inside a data-parallel wrapper.
        total_updates: optimizer steps of the whole run, over which the schedule is laid out.
        schedule: instead of the one that the model's quantization names.

    Attributes:
        num_updates: updates done.

    Raises:
        ConfigError: a float model, or a run without updates.
    """

    def __init__(self, model: nn.Module, total_updates: int, schedule: Optional[PrecisionSchedule] = None):
        quantization = get_quantization(model)
        if quantization is None:
            raise ConfigError("PrecisionScheduler: the model is not quantized; call quantize_model first")
        if isinstance(total_updates, bool) or not isinstance(total_updates, int) or total_updates < 1:
            raise ConfigError(
                f"PrecisionScheduler: total_updates must be a whole number of 1 or more, got {total_updates!r}"
            )
        self.quantization = quantization
        self.model: nn.Module = model if getattr(model, "quantization", None) is quantization else model.module  # type: ignore[assignment]
        self.num_updates = 0
        self._calls = 0  # of the model in training, since the last step
        self._run = ScheduleRun(schedule if schedule is not None else schedule_of(quantization.config))
        for line in self._run.lay_out(total_updates):
            logger.warning(line)
        quantization.lay_out(total_updates)
        quantization.is_driven = True
        # prepended, so that it comes before the hook that takes `num_bits` from the call
        self._hook = self.model.register_forward_pre_hook(self._before_call, prepend=True, with_kwargs=True)
        quantization.hooks.append(self._hook)  # it goes with the quantization

    @property
    def schedule(self) -> PrecisionSchedule:
        """What gives the bits."""
        return self._run.schedule

    @property
    def total_updates(self) -> int:
        """Updates of the whole run."""
        return self._run.total_updates  # type: ignore[return-value]

    @property
    def bits(self) -> int:
        """Bits of the update under way."""
        return self._run.bits(self.num_updates)

    def __repr__(self) -> str:
        done = f"update {self.num_updates} of {self.total_updates}"
        return f"PrecisionScheduler({self.schedule.name}, {self.schedule.span} bits: {done})"

    def __iter__(self) -> Iterator[int]:
        """The bits of each update that is left; `step()` follows unless the loop's body has called it."""
        while self.num_updates < self.total_updates:
            before = self.num_updates
            yield self.bits
            if self.num_updates == before:
                self.step()

    def step(self, loss: Any = None) -> None:
        """An update is done: after the optimizer's step.

        Args:
            loss: of the update, a number or a tensor of one element, for schedules that follow it.
        """
        if self.num_updates == self.total_updates:
            logger.warning(
                f"precision schedule: more updates than total_updates={self.total_updates}; "
                f"further ones run at {self.bits} bits"
            )
        if self._run.diversity is not None:
            self._run.see_gradients(self.num_updates, self.model.parameters())
        if isinstance(loss, Tensor):
            loss = loss.item() if self._run.follows_loss else 0.0  # do not synchronize with the device without need
        self._run.end_update(self.num_updates, loss, "and step() was given none; call step(loss=loss)")
        self.quantization.end_update(self.model)
        self.num_updates += 1
        self._calls = 0

    def detach(self) -> None:
        """Leave the model: it trains at its declared bits again."""
        self._hook.remove()
        self.quantization.is_driven = False
        self.quantization.context.counts_itself = True

    def _before_call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook of the model."""
        if not module.training or self.quantization.context.in_call:
            return args, kwargs
        args, kwargs = self.quantization.by_name(args, kwargs)
        rank, world = _place()
        self.quantization.begin_micro_batch(self.num_updates, self._calls * world + rank)
        self._calls += 1
        return args, kwargs if "num_bits" in kwargs else {**kwargs, "num_bits": self.bits}

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: updates done, the schedule's state, running ranges and learned scales."""
        quantizers = {name: tensor.clone() for name, tensor in quantizer_state(self.model).items()}
        return {**self._run.state_dict(), "num_updates": self.num_updates, "quantizers": quantizers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`.

        Raises:
            CheckpointError: it is not a scheduler's, or the model's quantizers are others.
        """
        updates, schedule, quantizers = (state.get(key) for key in ("num_updates", "schedule", "quantizers"))
        if (
            not (isinstance(updates, int) and updates >= 0)
            or not (isinstance(schedule, Mapping) and "name" in schedule)
            or not isinstance(quantizers, Mapping)
        ):
            raise CheckpointError(
                "PrecisionScheduler: this is no state of one; it lacks num_updates, schedule or quantizers"
            )
        load_quantizer_state(self.model, quantizers)
        name = schedule["name"]
        if name != self.schedule.name:
            logger.warning(
                f"precision schedule: the checkpoint was trained with {name}, now it is {self.schedule.name}, "
                "which starts without what the other one has seen"
            )
        self._run.load_state_dict(state)
        for line in self._run.lay_out(self.total_updates):
            logger.warning(line)
        self.num_updates, self._calls = updates, 0


def _place() -> tuple[int, int]:
    """Rank and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
