"""Meters: running statistics of one quantity each, and `MetersDict`, a set of them in log-line order.

    AverageMeter        sum(value * n) / sum(n); the last value where nothing has weight
    SumMeter            sum(value)
    TimeMeter           n per second since construction or `reset`
    StopwatchMeter      seconds between `start` and `stop`, per n
    ConcatTensorMeter   all values, concatenated

Values may be Python numbers, NumPy scalars or tensors. A tensor stays a tensor, on its device, until `smoothed_value`
is read, so updating a meter never waits for the device. `state_dict()` layouts are those in fairseq's checkpoints.

>>> meter = AverageMeter(round=2)
>>> meter.update(1.0, n=1)
>>> meter.update(2.0, n=2)
>>> meter.smoothed_value
1.67
"""

import bisect
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import CheckpointError, unknown


def type_as(a: Any, b: Any) -> Any:
    """`a` on the device of `b` where both are tensors; `a` itself otherwise."""
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.device != b.device:
        return a.to(b.device)
    return a


def safe_round(number: Any, ndigits: int) -> Any:
    """`round`, also for one-element tensors and zero-dimensional arrays; what cannot be rounded comes back as it is.

    >>> safe_round(torch.tensor(1.25), 1), safe_round("n/a", 1)
    (1.2, 'n/a')
    """
    if hasattr(number, "__round__"):
        return round(number, ndigits)
    if (isinstance(number, Tensor) and number.numel() == 1) or getattr(number, "shape", None) == ():
        return round(number.item(), ndigits)
    return number


class Meter:
    """Base class. A meter of a plugin gives `update`, `reset`, `state_dict`, `load_state_dict` and `smoothed_value`."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def reset(self) -> None:
        raise NotImplementedError

    @property
    def smoothed_value(self) -> Any:
        """The number to print."""
        raise NotImplementedError


class AverageMeter(Meter):
    """Weighted mean. A value with weight 0 only replaces the last value (`val`)."""

    def __init__(self, round: Optional[int] = None):
        self.round = round
        self.reset()

    def reset(self) -> None:
        self.val: Any = None
        self.sum: Any = 0
        self.count: Any = 0

    def update(self, val: Any, n: Any = 1) -> None:
        if val is not None:
            self.add(val, val * n, n)

    def add(self, val: Any, weighted: Any, n: Any) -> None:
        """`update` where the caller has `weighted = val * n` already."""
        self.val = val
        # a tensor's weight is not read: reading waits for the device, and adding zeros changes nothing
        if isinstance(n, Tensor) or n > 0:
            self.sum = type_as(self.sum, weighted) + weighted
            self.count = type_as(self.count, n) + n

    @property
    def avg(self) -> Any:
        return self.sum / self.count if self.count > 0 else self.val

    @property
    def smoothed_value(self) -> Any:
        value = self.avg
        return value if self.round is None or value is None else safe_round(value, self.round)

    def state_dict(self) -> dict[str, Any]:
        return {"val": self.val, "sum": self.sum, "count": self.count, "round": self.round}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.val, self.sum, self.count = state_dict["val"], state_dict["sum"], state_dict["count"]
        self.round = state_dict.get("round")


class SumMeter(Meter):
    """Sum of all values."""

    def __init__(self, round: Optional[int] = None):
        self.round = round
        self.reset()

    def reset(self) -> None:
        self.sum: Any = 0

    def update(self, val: Any) -> None:
        if val is not None:
            self.sum = type_as(self.sum, val) + val

    @property
    def smoothed_value(self) -> Any:
        return self.sum if self.round is None else safe_round(self.sum, self.round)

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum, "round": self.round}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sum, self.round = state_dict["sum"], state_dict.get("round")


class TimeMeter(Meter):
    """Events per second. `init` is elapsed time (s) from before a restart."""

    def __init__(self, init: float = 0, n: Any = 0, round: Optional[int] = None):
        self.round = round
        self.reset(init, n)

    def reset(self, init: float = 0, n: Any = 0) -> None:
        self.init, self.n, self.i = init, n, 0
        self.start = time.perf_counter()

    def update(self, val: Any = 1) -> None:
        self.n = type_as(self.n, val) + val
        self.i += 1

    @property
    def elapsed_time(self) -> float:
        return self.init + (time.perf_counter() - self.start)

    @property
    def avg(self) -> Any:
        return self.n / self.elapsed_time

    @property
    def smoothed_value(self) -> Any:
        return self.avg if self.round is None else safe_round(self.avg, self.round)

    def state_dict(self) -> dict[str, Any]:
        return {"init": self.elapsed_time, "n": self.n, "round": self.round}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reset(state_dict["init"], state_dict["n"])
        self.round = state_dict.get("round")


class StopwatchMeter(Meter):
    """Seconds between `start` and `stop`, divided by the n given to `stop` (not divided while that is 0)."""

    def __init__(self, round: Optional[int] = None):
        self.round = round
        self.start_time: Optional[float] = None
        self.sum: Any = 0
        self.n: Any = 0

    def reset(self) -> None:
        self.sum, self.n = 0, 0
        self.start()

    def start(self) -> None:
        self.start_time = time.perf_counter()

    def stop(self, n: Any = 1, prehook: Optional[Callable[[], None]] = None) -> None:
        """Add the time since `start`; `prehook` runs first (for example a device synchronisation). No start, no
        effect.
        """
        if self.start_time is None:
            return
        if prehook is not None:
            prehook()
        self.sum = self.sum + time.perf_counter() - self.start_time
        self.n = type_as(self.n, n) + n

    @property
    def elapsed_time(self) -> float:
        """Seconds since `start`; 0.0 before it."""
        return 0.0 if self.start_time is None else time.perf_counter() - self.start_time

    @property
    def avg(self) -> Any:
        return self.sum / self.n if self.n > 0 else self.sum

    @property
    def smoothed_value(self) -> Any:
        value = self.avg if self.sum > 0 else self.elapsed_time
        return value if self.round is None else safe_round(value, self.round)

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum, "n": self.n, "round": self.round}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sum, self.n, self.start_time = state_dict["sum"], state_dict["n"], None
        self.round = state_dict.get("round")


class ConcatTensorMeter(Meter):
    """Concatenates tensors along `dim`, for statistics that need every value (a correlation, say)."""

    def __init__(self, dim: int = 0):
        self.dim = dim
        self.reset()

    def reset(self) -> None:
        self.tensor: Optional[Tensor] = None

    def update(self, val: Tensor) -> None:
        self.tensor = val if self.tensor is None else torch.cat([self.tensor, val], dim=self.dim)

    @property
    def smoothed_value(self) -> list:
        return []  # for a derived meter, not to be printed

    def state_dict(self) -> dict[str, Any]:
        return {"tensor": self.tensor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tensor = state_dict["tensor"]


class MetersDict(OrderedDict):
    """Meters by name, ordered by priority and, where that is equal, by insertion. Keys that start with `_` are not
    printed.

    >>> meters = MetersDict()
    >>> meters.add_meter("lr", AverageMeter(), 300)
    >>> meters.add_meter("loss", AverageMeter(), 10)
    >>> list(meters)
    ['loss', 'lr']
    """

    class _DerivedMeter(Meter):
        """Computed from the other meters when read; has no state of its own."""

        def __init__(self, fn: Callable[["MetersDict"], Any]):
            self.fn = fn

        def reset(self) -> None:
            pass

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.priorities: list[tuple[int, int, str]] = []

    def __setitem__(self, key: str, value: Any) -> None:
        assert key not in self, f"there is a meter {key!r} already"
        priority, meter = value
        entry = (priority, len(self.priorities), key)
        position = bisect.bisect(self.priorities, entry)
        self.priorities.insert(position, entry)
        super().__setitem__(key, meter)
        for _, _, later in self.priorities[position + 1 :]:
            self.move_to_end(later)

    def add_meter(self, key: str, meter: Meter, priority: int) -> None:
        self[key] = (priority, meter)

    def clear(self) -> None:
        super().clear()
        self.priorities.clear()

    def reset(self) -> None:
        for meter in self.values():
            meter.reset()

    def get_smoothed_value(self, key: str) -> Any:
        meter = self[key]
        return meter.fn(self) if isinstance(meter, MetersDict._DerivedMeter) else meter.smoothed_value

    def get_smoothed_values(self) -> "OrderedDict[str, Any]":
        return OrderedDict((key, self.get_smoothed_value(key)) for key in self if not key.startswith("_"))

    def state_dict(self) -> list[tuple[int, str, str, dict[str, Any]]]:
        """`(priority, key, class name, state)` of every meter but the derived ones, which each run defines."""
        return [
            (priority, key, type(self[key]).__name__, self[key].state_dict())
            for priority, _, key in self.priorities
            if not isinstance(self[key], MetersDict._DerivedMeter)
        ]

    def load_state_dict(self, state_dict: list[tuple[int, str, str, dict[str, Any]]]) -> None:
        """Replace all meters by the saved ones.

        Raises:
            CheckpointError: a meter class that is not one of this module's.
        """
        self.clear()
        for priority, key, class_name, state in state_dict:
            if class_name not in _METERS:
                raise CheckpointError(unknown("meter class", class_name, _METERS, where=f"the saved metric {key!r}"))
            meter = _METERS[class_name]()
            meter.load_state_dict(state)
            self.add_meter(key, meter, priority)


_METERS: dict[str, type[Meter]] = {
    cls.__name__: cls for cls in (AverageMeter, SumMeter, TimeMeter, StopwatchMeter, ConcatTensorMeter)
}
