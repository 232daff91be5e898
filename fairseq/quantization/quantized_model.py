"""`model.quantization`: the plan of a quantized model and what a training loop tells it.

    print(model.quantization)                              # the plan
    model.quantization.calibrate(model, batches)           # ranges for evaluation, where nothing is trained

`PrecisionScheduler` tells it what a training loop does. By hand that is

    for update in range(total):
        bits = schedule.bits(update, total)
        for i, batch in enumerate(batches):
            quantization.begin_micro_batch(update, i)
            loss(model(batch, num_bits=bits)).backward()
        optimizer.step()
        quantization.end_update(model)

A loop that tells nothing works, too: each call of the model in training then counts as an update.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fairseq.errors import CheckpointError, ConfigError, DataError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.metadata_state import load_quantizer_state, quantizer_state
from fairseq.quantization.model_call import ModelCall
from fairseq.quantization.observers.running import AverageFromZero, RunningObserver
from fairseq.quantization.plan.settings import QuantizationConfig
from fairseq.quantization.plan.table import Plan
from fairseq.quantization.versions import VERSION

SETTLED = 0.9  # a running range of momentum 0.9 gets there with 22 updates


class Quantization:
    """How a model is quantized.

    Attributes:
        config: complete, with the preset's fields and rules.
        plan: every quantizer with its settings.
        context: state shared by the quantizers.
        threaded: whether the model's forward takes `num_bits` itself.
        is_driven: whether a scheduler gives each update the bits of its schedule.
        hooks: on the model, for as long as it is quantized.
    """

    def __init__(self, config: QuantizationConfig, plan: Plan, context: QuantizationContext, threaded: bool):
        self.config, self.plan, self.context, self.threaded = config, plan, context, threaded
        self.is_driven = False
        self.first_update = 0  # before it nothing is rounded
        self._call: Optional[ModelCall] = None
        self.hooks: list[RemovableHandle] = []

    def attach(self, model: nn.Module) -> None:
        """Become `model.quantization`."""
        self._call = ModelCall(model, self.context, self.threaded)
        self._call.install()
        model.quantization = self  # type: ignore[assignment]

    def detach(self, model: nn.Module) -> None:
        """Undo `attach`."""
        for handle in self.hooks:
            handle.remove()
        if self._call is not None:
            self._call.remove()
        del model.quantization

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of a call of the model, with `num_bits` by name where the forward takes it by position."""
        return (args, kwargs) if self._call is None else self._call.by_name(args, kwargs)

    def __repr__(self) -> str:
        active, rows = len(self.plan.active), len(self.plan.rows)
        return f"quantization={self.config.preset}: {active} quantizers, {rows} rows\n{self.plan}"

    def _repr_html_(self) -> str:
        return self.plan._repr_html_()

    # --- training -------------------------------------------------------------------------------------------------

    def begin_micro_batch(self, update: int, micro_batch: int = 0, counts: bool = True) -> None:
        """Say which update comes next, and which of its micro-batches.

        Args:
            update: number of updates done so far.
            micro_batch: the i-th of rank r among W processes is i * W + r, so that rounding does not depend on W.
            counts: False for a batch that stands in for a missing one: ranges do not look at it.
        """
        self.context.set(update, micro_batch)
        self.reach(update)
        self.context.frozen = not counts

    def lay_out(self, total_updates: int, epoch: Optional[int] = None) -> None:
        """Say how many updates the run has, 0 where nobody knows, and how many an epoch has.

        Raises:
            ConfigError: the run ends before anything would be rounded, or epochs are asked for where there are none.
        """
        config = self.config
        self.context.total_updates = total_updates
        self.first_update = config.full_precision_updates or 0
        name = "full_precision_updates"
        if config.full_precision_epochs:
            if epoch is None:
                raise ConfigError(
                    "quantization.full_precision_epochs: this loop has no epochs; set full_precision_updates"
                )
            self.first_update, name = config.full_precision_epochs * epoch, "full_precision_epochs"
        if total_updates and self.first_update >= total_updates:
            raise ConfigError(
                f"quantization.{name}={getattr(config, name)}: the run ends before anything is rounded, which would be "
                f"from update {self.first_update + 1} of {total_updates} on; lower it or train longer"
            )

    def reach(self, update: int) -> None:
        """Say that the run is at `update`, from 0."""
        self.context.waiting = update < self.first_update

    def end_update(self, model: nn.Module, group: Any = None) -> None:
        """Fold the update's ranges into the running ones; over all processes of `group` if torch.distributed runs."""
        self.context.frozen = False
        observers = [module for module in model.modules() if isinstance(module, RunningObserver)]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            _sum_over_processes(observers, group)
        for observer in observers:
            observer.commit()

    def drop_update(self, model: nn.Module) -> None:
        """The update is not done, since its gradients do not fit: running ranges forget what it has shown."""
        self.context.frozen = False
        for module in model.modules():
            if isinstance(module, RunningObserver):
                module.forget()

    def short_ranges(self, model: nn.Module) -> Optional[str]:
        """A warning, where running ranges have had too few updates to hold what training has shown; None elsewhere."""
        growing = [module for module in model.modules() if isinstance(module, AverageFromZero) and module.has_data]
        covered = [module.coverage() for module in growing]
        if not covered or min(covered) >= SETTLED:
            return None
        return (
            f"running ranges hold {100 * min(covered):.0f} % of what training has shown (as in the reference they "
            "start at zero), so evaluation clips; train longer, or correct them by the rule "
            r"{match: 're:.*\.(input|query|key|value|probs)', range: ema}"
        )

    def calibrate(
        self, model: nn.Module, batches: Iterable[Any], run: Optional[Callable[[nn.Module, Any], Any]] = None
    ) -> None:
        """Set the running ranges (and start learned scales) without training, in evaluation mode and without gradients.

        Each range becomes the mean over the batches, as in the reference's QuantMeasure with `measure`.

        Args:
            batches: a few of what the model is made for; some hundred examples are usually enough.
            run: calls the model on a batch; `call_with` if None.

        Raises:
            DataError: there are no batches.
        """
        training = [module for module in model.modules() if module.training]
        model.eval()
        for module in model.modules():
            if isinstance(module, RunningObserver):
                module.calibrated = 0
        self.context.calibrating = True
        empty = True
        try:
            with torch.no_grad():
                for batch in batches:
                    (run or call_with)(model, batch)
                    self.end_update(model)
                    empty = False
        finally:
            self.context.calibrating = False
            for module in training:
                module.training = True
        if empty:
            raise DataError("quantization: no batches to calibrate on; ranges are what they were")

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self, model: nn.Module) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights: the plan and the quantizers' tensors."""
        plan = self.plan.as_dicts()
        return {"version": VERSION, "plan": plan, "state": quantizer_state(model), "seed": self.context.seed}

    def load_state_dict(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Restore `state_dict`; CheckpointError where the checkpoint's plan keeps other quantizer state."""
        if "state" not in state:
            raise CheckpointError(
                "quantization state of the checkpoint has no 'state'; was it saved by another program?"
            )
        load_quantizer_state(model, state["state"])


def call_with(model: nn.Module, batch: Any) -> Any:
    """`model` on a batch as data loaders make them: a mapping holds keyword arguments, a tuple or list positional ones,
    anything else is the only one.
    """
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, (tuple, list)) else model(batch)


def _sum_over_processes(observers: list[RunningObserver], group: Any) -> None:
    """Add up the pending sums and counts of all processes, in one reduction per device."""
    by_device: dict[torch.device, list[RunningObserver]] = {}
    for observer in observers:
        by_device.setdefault(observer.pending.device, []).append(observer)
    for device, members in by_device.items():
        counts = torch.tensor([float(observer.pending_count) for observer in members], device=device)
        flat = torch.cat([*(observer.pending.flatten() for observer in members), counts])
        torch.distributed.all_reduce(flat, group=group)
        start = 0
        for observer, count in zip(members, flat[flat.numel() - len(members) :].tolist(), strict=True):
            stop = start + observer.pending.numel()
            observer.pending.copy_(flat[start:stop].view_as(observer.pending))
            observer.pending_count = int(count)
            start = stop


def quantization_of(model: nn.Module) -> Quantization:
    """`get_quantization` of a model that has to be quantized; ConfigError where it is not."""
    found = get_quantization(model)
    if found is None:
        raise ConfigError(f"the {type(model).__name__} is not quantized; call quantize_model first")
    return found


def get_quantization(model: nn.Module) -> Optional[Quantization]:
    """The model's `Quantization`, also through a data-parallel wrapper; None for a float model."""
    for candidate in (model, getattr(model, "module", None)):
        found = getattr(candidate, "quantization", None)
        if isinstance(found, Quantization):
            return found
    return None
