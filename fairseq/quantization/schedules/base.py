"""What a precision schedule is, and how one is built from a config.

Bits depend on the number of updates done and on how many there will be. The last update always runs at the upper
bound, whatever the schedule. Schedules that react to the loss or to gradients are told about them by `observe` and
keep a state.

>>> schedule = build_schedule("CR", low=3, high=8, num_cycles=2)
>>> [schedule.bits(update, 16) for update in range(16)]
[3, 3, 4, 5, 6, 6, 7, 8, 3, 3, 4, 5, 6, 6, 7, 8]
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Optional

from fairseq.errors import ConfigError
from fairseq.quantization.plan.settings import QuantizationConfig
from fairseq.quantization.registry import Registry, build


class PrecisionSchedule:
    """Bits over a run.

    Args:
        low, high: bounds; the last update runs at `high`.

    Raises:
        ConfigError: bounds that are not 1 <= low <= high. How many bits there are, the formats that follow it say.
    """

    name: ClassVar[str] = ""
    adaptive: ClassVar[bool] = False  # depends on what `observe` is told
    needs_length: ClassVar[bool] = True  # of the run, unless it is adaptive

    def __init__(self, low: int, high: int):
        for what, value in (("lower", low), ("upper", high)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"precision schedule: the {what} bound must be a whole number of bits, got {value!r}")
        if low > high:
            raise ConfigError(f"precision schedule: the lower bound {low} lies above the upper bound {high}")
        self.low, self.high = low, high

    @property
    def span(self) -> str:
        """The bits of the run, in words."""
        return str(self.high) if self.low == self.high else f"{self.low} to {self.high}"

    def bits(self, update: int, total_updates: int) -> int:
        """Bits of the update that follows `update` done ones, out of `total_updates`."""
        if update >= total_updates - 1:
            return self.high
        return min(max(self.at(max(update, 0), total_updates), self.low), self.high)

    def at(self, update: int, total_updates: int) -> int:
        """Bits at any update but the last."""
        raise NotImplementedError

    def observe(self, update: int, loss: Optional[float] = None, diversity: Optional[float] = None) -> None:
        """Told after an update: its training loss, and the gradient diversity where one was measured."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on with the same bits."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""

    def notes(self, total_updates: int) -> list[str]:
        """Remarks for the user about settings that cannot take effect in a run of this length."""
        return []


SCHEDULES: Registry[type[PrecisionSchedule]] = Registry("precision schedule", __name__.rpartition(".")[0])


def build_schedule(name: str, **options: Any) -> PrecisionSchedule:
    """The schedule called `name`; ConfigError for options that it does not have."""
    return build(SCHEDULES.lookup(name), options, f"precision schedule {name}")


def schedule_of(config: QuantizationConfig) -> PrecisionSchedule:
    """The schedule that a complete config asks for."""
    chosen = config.schedule
    high = config.num_bits
    assert high is not None
    name = chosen.name or "constant"
    options: dict[str, Any] = {"low": chosen.min_bits if chosen.min_bits is not None else high, "high": high}
    if name != "constant" and chosen.num_cycles is not None and not SCHEDULES.lookup(name).adaptive:
        options["num_cycles"] = chosen.num_cycles
    return build_schedule(name, **options, **chosen.options)


@SCHEDULES.register("constant")
class Constant(PrecisionSchedule):
    """The upper bound throughout."""

    name = "constant"
    needs_length = False

    def __init__(self, low: int, high: int):
        super().__init__(low, high)
        self.low = high

    def at(self, update: int, total_updates: int) -> int:
        return self.high
