"""Where training code logs numbers: `log_scalar("loss", loss)` reaches every aggregator that is active at that moment.

    with metrics.aggregate("train"):
        for batch in epoch:
            with metrics.aggregate() as step:           # unnamed: gone after the block
                metrics.log_scalar("loss", loss, weight=sample_size, round=3)
            step.get_smoothed_value("loss")             # of this batch
    metrics.get_smoothed_values("train")                # of the epoch

Named aggregators keep their meters until `reset_meters(name)`; "default" is always active. The functions of this
module act on the `Metrics` object of the current context, one for the whole process unless `isolated()` puts another
one in its place.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Optional

from torch import Tensor

from fairseq.logging.meters import (
    AverageMeter,
    ConcatTensorMeter,
    Meter,
    MetersDict,
    StopwatchMeter,
    SumMeter,
    TimeMeter,
)

DEFAULT = "default"


class Metrics:
    """Named aggregators, and which of them are active now (outermost first, each once)."""

    def __init__(self) -> None:
        self.aggregators: OrderedDict[str, MetersDict] = OrderedDict()
        self.active: list[MetersDict] = []
        self.reset()

    def reset(self) -> None:
        self.aggregators.clear()
        self.aggregators[DEFAULT] = MetersDict()
        self.active = [self.aggregators[DEFAULT]]

    @contextlib.contextmanager
    def aggregate(self, name: Optional[str], new_root: bool) -> Iterator[MetersDict]:
        assert name != DEFAULT, f"{DEFAULT!r} is always active"
        aggregator = MetersDict() if name is None else self.aggregators.setdefault(name, MetersDict())
        before = self.active
        if new_root:
            self.active = [aggregator]
        elif not any(active is aggregator for active in before):
            self.active = [*before, aggregator]
        try:
            yield aggregator
        finally:
            self.active = before

    def state_dict(self) -> "OrderedDict[str, list]":
        return OrderedDict((name, aggregator.state_dict()) for name, aggregator in self.aggregators.items())

    def load_state_dict(self, state_dict: dict[str, list]) -> None:
        for name, state in state_dict.items():
            # in place, so that an aggregator that is active already continues with the loaded meters
            self.aggregators.setdefault(name, MetersDict()).load_state_dict(state)


_current: ContextVar[Metrics] = ContextVar("fairseq_metrics", default=Metrics())  # noqa: B039 - shared on purpose


@contextlib.contextmanager
def isolated() -> Iterator[Metrics]:
    """A fresh `Metrics` for the length of a `with` block, whatever was logged before.

    >>> with isolated() as inner:
    ...     log_scalar("loss", 2.0)
    ...     get_smoothed_value("default", "loss")
    2.0
    """
    token = _current.set(Metrics())
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def reset() -> None:
    """Forget every aggregator."""
    _current.get().reset()


@contextlib.contextmanager
def aggregate(name: Optional[str] = None, new_root: bool = False) -> Iterator[MetersDict]:
    """Gather what is logged inside the block, also as a decorator.

    Args:
        name: keep the meters under this name across blocks; None for meters that only the block needs.
        new_root: hide the block from all other aggregators (validation inside training).
    """
    with _current.get().aggregate(name, new_root) as aggregator:
        yield aggregator


def get_active_aggregators() -> list[MetersDict]:
    return _current.get().active


def log_scalar(key: str, value: Any, weight: Any = 1, priority: int = 10, round: Optional[int] = None) -> None:
    """Average of `value` weighted by `weight`; weight 0 reports the last value.

    Args:
        priority: place in the log line, small first.
        round: digits after the point when printed.
    """
    weighted = None if value is None else value * weight  # once for all aggregators
    for aggregator in _current.get().active:
        if key not in aggregator:
            aggregator.add_meter(key, AverageMeter(round=round), priority)
        meter = aggregator[key]
        if weighted is not None and type(meter) is AverageMeter:
            meter.add(value, weighted, weight)
        else:
            meter.update(value, weight)


def log_scalar_sum(key: str, value: Any, priority: int = 10, round: Optional[int] = None) -> None:
    """Sum of `value`."""
    for aggregator in _current.get().active:
        if key not in aggregator:
            aggregator.add_meter(key, SumMeter(round=round), priority)
        aggregator[key].update(value)


def log_derived(key: str, fn: Callable[[MetersDict], Any], priority: int = 20) -> None:
    """A value computed from the aggregator's other meters when it is read: `log_derived("ppl", lambda m: 2 **
    m["loss"].avg)`.
    """
    for aggregator in _current.get().active:
        if key not in aggregator:
            aggregator.add_meter(key, MetersDict._DerivedMeter(fn), priority)


def log_speed(key: str, value: Any, priority: int = 30, round: Optional[int] = None) -> None:
    """`value` per second. The first call only starts the clock: what it reports took place before."""
    for aggregator in _current.get().active:
        if key not in aggregator:
            aggregator.add_meter(key, TimeMeter(round=round), priority)
        else:
            aggregator[key].update(value)


def log_start_time(key: str, priority: int = 40, round: Optional[int] = None) -> None:
    """Start the stopwatch `key`."""
    for aggregator in _current.get().active:
        if key not in aggregator:
            aggregator.add_meter(key, StopwatchMeter(round=round), priority)
        aggregator[key].start()


def log_stop_time(key: str, weight: float = 0.0, prehook: Optional[Callable[[], None]] = None) -> None:
    """Stop the stopwatch `key` where it runs; weight 0 reports total seconds, otherwise seconds per weight."""
    for aggregator in _current.get().active:
        if key in aggregator:
            aggregator[key].stop(weight, prehook)


def log_custom(new_meter_fn: Callable[[], Meter], key: str, *args: Any, priority: int = 50, **kwargs: Any) -> None:
    """Any meter: made by `new_meter_fn` when first needed, then `meter.update(*args, **kwargs)`."""
    for aggregator in _current.get().active:
        if key not in aggregator:
            aggregator.add_meter(key, new_meter_fn(), priority)
        aggregator[key].update(*args, **kwargs)


def log_concat_tensor(key: str, value: Tensor, priority: int = 10, dim: int = 0) -> None:
    """Keep `value`, concatenated to those before."""
    log_custom(lambda: ConcatTensorMeter(dim=dim), key, value, priority=priority)


def reset_meter(name: str, key: str) -> None:
    meter = get_meter(name, key)
    if meter is not None:
        meter.reset()


def reset_meters(name: str) -> None:
    meters = get_meters(name)
    if meters is not None:
        meters.reset()


def get_meter(name: str, key: str) -> Optional[Meter]:
    """Meter `key` of aggregator `name`, None if either does not exist."""
    meters = get_meters(name)
    return None if meters is None else meters.get(key)


def get_meters(name: str) -> Optional[MetersDict]:
    """Aggregator `name`, None if nothing has been logged to it."""
    return _current.get().aggregators.get(name)


def get_smoothed_value(name: str, key: str) -> Any:
    return _current.get().aggregators[name].get_smoothed_value(key)


def get_smoothed_values(name: str) -> "OrderedDict[str, Any]":
    return _current.get().aggregators[name].get_smoothed_values()


def state_dict() -> "OrderedDict[str, list]":
    """Name -> `(priority, key, class name, state)` of each meter, as checkpoints store it."""
    return _current.get().state_dict()


def load_state_dict(state_dict: dict[str, list]) -> None:
    _current.get().load_state_dict(state_dict)
