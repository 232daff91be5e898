"""A quantized model in training: at how many bits each update runs, what it costs, what checkpoints keep of it.

    model = quantize(task.build_model(cfg.model), cfg.quantization)        # fairseq.training.quantize
    trainer = Trainer(cfg, task, model, criterion)          # finds the quantizers of the model
    trainer.quantized_training.schedule.bits(update, total)

Bits are passed as an argument, `num_bits`, from the trainer's step to each quantizer. A task or criterion of a plugin
may lack the argument. Calls of the model then run at the same bits, because the update also sets them in the model's
context while it runs.

Schedules count updates of the whole run: `optimization.max_update`, or the updates of `max_epoch` epochs.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Optional

import torch
from torch import nn

from fairseq.distributed import utils as distributed_utils
from fairseq.errors import CheckpointError
from fairseq.logging import metrics
from fairseq.logging.side_outputs import SideOutput
from fairseq.training.cost import gather_cost

if TYPE_CHECKING:
    from fairseq.graph.error_log import PointErrorLog

logger = logging.getLogger(__name__)

FULL_BITS = 32
PLAN_FILE = "quantization_plan.json"


def planned_updates(optimization: Any, batches_per_epoch: int) -> Optional[int]:
    """Updates of a whole run, None if neither `max_update` nor `max_epoch` sets an end."""
    limits = [optimization.max_update] if optimization.max_update else []
    if optimization.max_epoch:
        freqs = list(optimization.update_freq)
        total = 0
        for epoch in range(optimization.max_epoch):
            freq = freqs[min(epoch, len(freqs) - 1)]
            whole, rest = divmod(batches_per_epoch, freq)
            total += whole + (rest > 0 and not optimization.skip_remainder_batch)
        limits.append(total)
    return min(limits) if limits else None


class QuantizedTraining:
    """Connects a trainer with a quantized model: bits of each update, costs, checkpoint state.

    Args:
        model: quantized, without any wrapper.
        optimization: the config's group, for the length of the run.
        device: where collectives put their numbers.

    Attributes:
        errors: records the errors of quantizers; None where they are not asked for.
        shards: how many processes share the batches, and the number of this one among them; None: all processes do.
    """

    def __init__(self, model: nn.Module, optimization: Any, device: torch.device):
        from fairseq.quantization import Quantization, get_quantization
        from fairseq.quantization.analysis.bitops import CostMeter, watch_unquantized_products
        from fairseq.quantization.schedule_run import ScheduleRun
        from fairseq.quantization.schedules.base import schedule_of

        handle = get_quantization(model)
        assert isinstance(handle, Quantization)
        self.model, self.handle, self.device = model, handle, device
        self.run = ScheduleRun(schedule_of(handle.config))
        self.meter = CostMeter(self.schedule.high)
        handle.is_driven = True
        self._save_dir: Optional[str] = None
        self._rows_written = 0
        self._optimization = optimization
        self._saved: Mapping[str, Any] = {}
        self._bits = self.schedule.high
        self.errors: Optional[PointErrorLog] = None
        self.shards: Optional[tuple[int, int]] = None
        watch_unquantized_products(model, handle.context)

    @classmethod
    def of(cls, model: nn.Module, optimization: Any, device: torch.device) -> Optional["QuantizedTraining"]:
        """For `model`, None if it is not quantized."""
        return cls(model, optimization, device) if getattr(model, "quantization", None) is not None else None

    # -- length of the run -------------------------------------------------------------------------------------------

    def lay_out(self, batches_per_epoch: int) -> None:
        """Set the number of updates of the schedule, once the length of an epoch is known."""
        if self.total_updates is not None:
            return
        total = planned_updates(self._optimization, batches_per_epoch)
        if self._saved.get("limits") == self._limits():
            total = self._saved["total_updates"]  # an epoch's length may differ between shards of the data
        freq = self._optimization.update_freq[-1]
        for line in self.run.lay_out(
            total,
            epoch=max(-(-batches_per_epoch // freq), 1),
            how="optimization.max_update or optimization.max_epoch (--max-update, --max-epoch)",
        ):
            logger.warning(line)
        self.handle.lay_out(total or 0, max(-(-batches_per_epoch // freq), 1))

    @property
    def schedule(self) -> Any:
        """What gives each update its bits."""
        return self.run.schedule

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        self.run.schedule = schedule

    @property
    def total_updates(self) -> Optional[int]:
        """Updates of the whole run, None until `lay_out`."""
        return self.run.total_updates

    @property
    def diversity(self) -> Any:
        """Measures gradients, where the schedule follows their diversity; else None."""
        return self.run.diversity

    def _limits(self) -> list[Any]:
        optimization = self._optimization
        return [
            optimization.max_update,
            optimization.max_epoch,
            list(optimization.update_freq),
            distributed_utils.get_world_size(),
        ]

    # -- one update --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def update(self, num_updates: int) -> Iterator[int]:
        """Around forward and backward of the update that follows `num_updates` done ones; gives its bits."""
        assert self.total_updates is not None, "get the training iterator first: it says how long the run is"
        self._bits = self.run.bits(num_updates)
        self.handle.reach(num_updates)
        context = self.handle.context
        errors = contextlib.nullcontext() if self.errors is None else self.errors.watching(context, num_updates)
        with context.running_at(self._bits), context.with_callback(self.meter), errors:
            yield self._bits

    @property
    def bits(self) -> int:
        """Bits of the last update."""
        return FULL_BITS if self.is_waiting else self._bits

    @property
    def is_waiting(self) -> bool:
        """Whether the last update came before anything is rounded."""
        return self.handle.context.waiting

    def begin_micro_batch(self, num_updates: int, index: int, is_dummy: bool) -> None:
        """Before the batch number `index` of this process in the update; `is_dummy` if it replaces a missing one."""
        world, rank = self.shards or (distributed_utils.get_world_size(), distributed_utils.get_rank())
        self.handle.begin_micro_batch(num_updates, index * world + rank, counts=not is_dummy)

    def see_gradients(self, num_updates: int, parameters: list[nn.Parameter]) -> None:
        """Between backward and clipping, for a schedule that reads gradients."""
        self.run.see_gradients(num_updates, parameters)

    def end_update(self, num_updates: int, logged: Mapping[str, Any]) -> None:
        """After the optimizer's step; `logged` holds the update's loss, over all processes."""
        self.handle.end_update(self.model)
        gather_cost(self.meter, self.device)
        if self.errors is not None:
            self.errors.write(num_updates + 1)
        self._write_plan()  # the first call may have added products that are no modules
        self.run.end_update(num_updates, logged.get("loss"), "and the criterion logs none")
        metrics.log_scalar("num_bits", self.bits, weight=0, priority=350)
        metrics.log_scalar("bitops", self.meter.total.total, weight=0, priority=360)

    def drop_update(self) -> None:
        """Instead of `end_update`, where the gradients overflowed and the optimizer makes no step."""
        self.handle.drop_update(self.model)

    def while_checking(self) -> contextlib.AbstractContextManager:
        """Around a validation step before the first update, when running ranges are still empty."""
        return self.handle.context.full_precision()

    def warn_of_short_ranges(self) -> None:
        """Before an evaluation: warn if running ranges have seen too few updates."""
        warning = self.handle.short_ranges(self.model)
        if warning:
            logger.warning(warning)

    # -- log lines, plan file ---------------------------------------------------------------------------------------

    def announce(self, save_dir: Optional[str]) -> None:
        """Log the plan and the schedule; `save_dir` is where `write_plan` will write them, if it will."""
        config = self.handle.config
        logger.info(f"quantization plan\n{self.handle.plan.table()}", extra={"terminal": ""})
        cycles = getattr(self.schedule, "num_cycles", None)
        headline = (
            f"quantization={config.preset}: {len(self.handle.plan.active)} quantizers; bits {self.schedule.span} by "
            f"schedule {self.schedule.name}{f' in {cycles} cycles' if cycles else ''}, "
            f"gradients {config.num_grad_bits or 32}, evaluation {config.eval_bits}"
        )
        logger.info(headline, extra={"terminal": lambda: self._short_plan(headline, save_dir)})

    def write_plan(self, save_dir: str) -> None:
        """Write the plan next to the checkpoints, and again when the first call has found more products."""
        self._save_dir = save_dir
        self._write_plan()

    def _write_plan(self) -> None:
        """Write the plan, if it is to be saved and differs from what was written."""
        plan = self.handle.plan
        if not self._save_dir or len(plan.rows) == self._rows_written:
            return
        from fairseq.checkpoint.writing import atomic
        from fairseq.quantization.versions import VERSION

        path = os.path.join(self._save_dir, PLAN_FILE)
        saved = {"version": VERSION, "config": asdict(self.handle.config), "plan": plan.as_dicts()}
        self._rows_written = len(plan.rows)
        with SideOutput(path, "the plan is in the log and in the checkpoints").attempt():
            os.makedirs(self._save_dir, exist_ok=True)
            with atomic(path) as file:
                file.write(json.dumps(saved, indent=2, default=dict).encode())

    def _short_plan(self, headline: str, save_dir: Optional[str]) -> str:
        plan = self.handle.plan
        whole = f"; the whole table: {os.path.join(save_dir, PLAN_FILE)}" if save_dir else ""
        rows = "\n".join(f"  {line}" for line in plan.summary().splitlines())
        return f"{headline}{whole}\n{rows}"

    def summary(self) -> str:
        """The cost of the run, in one line."""
        return f"quantization={self.handle.config.preset}: {self.meter.total.describe()}"

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: plan, quantizers, schedule and costs."""
        return {
            **self.handle.state_dict(self.model),
            **self.run.state_dict(),
            "limits": self._limits(),
            "cost": self.meter.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], filename: str, only_weights: bool) -> None:
        """Restore `state_dict`.

        Args:
            filename: the checkpoint's, for messages.
            only_weights: only the weights are used, in a new training: ranges are taken where they fit.
        """
        from fairseq.quantization.metadata_state import hidden_modules

        try:
            self.handle.load_state_dict(self.model, state)  # type: ignore[arg-type]
        except CheckpointError as error:
            if not only_weights:
                raise CheckpointError(f"checkpoint {filename}: {error}") from None
            logger.warning(f"checkpoint {filename} is quantized in another way: ranges and scales start from scratch")
            for _, module in hidden_modules(self.model):
                module.after_load(found=False)
        if only_weights:
            return
        self.run.load_state_dict(state)
        self.meter.load_state_dict(state["cost"])
        self._saved = state


def record_errors(cfg: Any, trainer: Any) -> None:
    """Have errors of quantizers recorded from now on, next to the checkpoints, as `common.point_errors_interval` asks.

    Args:
        cfg: the root config.
        trainer: whose updates so far have been recorded.
    """
    every, training = cfg.common.point_errors_interval, trainer.quantized_training
    if not every or not trainer.is_data_parallel_master:
        return
    if training is None or cfg.checkpoint.no_save:
        why = "the model is not quantized" if training is None else "checkpoint.no_save leaves it no folder"
        logger.warning(f"common.point_errors_interval has no effect: {why}")
        return
    from fairseq.graph.error_log import FILE_NAME, PointErrorLog

    path = os.path.join(cfg.checkpoint.save_dir, FILE_NAME)
    training.errors = PointErrorLog(path, every, trainer.get_num_updates())
