"""One schedule in one run: how many updates there are, what an adaptive schedule is told, what resuming needs.

A trainer and `PrecisionScheduler`, for loops of one's own, both hold a `ScheduleRun`; who counts updates passes their
number in.

>>> from fairseq.quantization.schedules import build_schedule
>>> run = ScheduleRun(build_schedule("CR", low=3, high=8, num_cycles=2))
>>> run.lay_out(4), [run.bits(update) for update in range(4)]
([], [3, 6, 3, 8])
"""

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from torch import nn

from fairseq.errors import ConfigError, TrainingError
from fairseq.quantization.gradient_diversity import GradientDiversity
from fairseq.quantization.schedules.base import PrecisionSchedule

ENDLESS = 2**62  # updates of a run whose end is not known


class ScheduleRun:
    """A schedule laid out over the updates of a run.

    Attributes:
        schedule: gives bits by update.
        total_updates: of the whole run; None until `lay_out`.
        diversity: measures gradients, for the schedule that follows their diversity.
    """

    def __init__(self, schedule: PrecisionSchedule):
        self.schedule = schedule
        self.total_updates: Optional[int] = None
        self.diversity: Optional[GradientDiversity] = None
        self._saved: Mapping[str, Any] = {}

    def lay_out(
        self, total_updates: Optional[int], epoch: Optional[int] = None, how: str = "total_updates"
    ) -> list[str]:
        """Settle the length of the run; returns warnings.

        Args:
            total_updates: None where the run has no end, which constant and adaptive schedules do with.
            epoch: updates of an epoch, the interval at which gradient diversity is measured by default.
            how: what sets the length, for messages.

        Raises:
            ConfigError: the schedule needs a length and there is none.
        """
        name = self.schedule.name
        if total_updates is None and self.schedule.needs_length and not self.schedule.adaptive:
            raise ConfigError(f"precision schedule {name} needs to know where the run ends; set {how}")
        before = self._saved.get("total_updates")
        warnings = []
        if before is not None and before != (total_updates or ENDLESS):
            warnings.append(
                f"precision schedule: the run now has {total_updates} updates, the checkpoint's was planned for "
                f"{before}; the schedule is laid out over {total_updates}"
            )
        self.total_updates = total_updates or ENDLESS
        if name == "diversity":
            interval = getattr(self.schedule, "interval", None) or epoch
            if interval is None:
                raise ConfigError(
                    "precision schedule diversity needs to know how often gradients are compared; set its option "
                    "interval (in updates), such as schedule={'name': 'diversity', 'options': {'interval': 100}}"
                )
            self.diversity = GradientDiversity(interval, getattr(self.schedule, "resolution", 3))
            if self._saved.get("diversity"):
                self.diversity.load_state_dict(self._saved["diversity"])
        return [*warnings, *self.schedule.notes(self.total_updates)]

    def bits(self, num_updates: int) -> int:
        """Bits of the update that follows `num_updates` done ones."""
        assert self.total_updates is not None, "the run has no length yet: call lay_out first"
        return self.schedule.bits(num_updates, self.total_updates)

    def see_gradients(self, num_updates: int, parameters: Iterable[nn.Parameter]) -> None:
        """Between backward and the optimizer's step, for the schedule that looks at gradients."""
        if self.diversity is not None:
            found = self.diversity.update(num_updates, parameters)
            if found is not None:
                self.schedule.observe(num_updates, diversity=found)

    @property
    def follows_loss(self) -> bool:
        """Whether `end_update` needs the update's loss."""
        return self.schedule.adaptive and self.schedule.name != "diversity"

    def end_update(self, num_updates: int, loss: Optional[float], how: str) -> None:
        """After an update, with its loss; TrainingError where the schedule follows the loss and there is none (`how`
        says what would give one).
        """
        if not self.follows_loss:
            return
        if loss is None:
            raise TrainingError(f"precision schedule {self.schedule.name} follows the loss, {how}")
        self.schedule.observe(num_updates, loss=float(loss))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on with the same bits."""
        return {
            "schedule": {"name": self.schedule.name, **self.schedule.state_dict()},
            "total_updates": self.total_updates,
            "diversity": self.diversity.state_dict() if self.diversity is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`, before or after `lay_out`. State of another schedule is left aside."""
        schedule = dict(state["schedule"])
        if schedule.pop("name") == self.schedule.name:
            self.schedule.load_state_dict(schedule)
        self._saved = state
        if self.diversity is not None and state.get("diversity"):
            self.diversity.load_state_dict(state["diversity"])
