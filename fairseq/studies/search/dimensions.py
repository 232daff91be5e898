"""One dimension of a search space: a list of choices, or a range of numbers.

>>> Dimension.read("model.dropout", {"low": 0.0, "high": 0.3, "step": 0.1}).values()
[0.0, 0.1, 0.2, 0.3]
>>> Dimension.read("optimization.lr", [[0.001], [0.0001]]).labels
('[0.001]', '[0.0001]')

Optuna keeps texts and numbers only; other choices go by their text (tuples and lists would come back as others).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from fairseq.errors import ConfigError, unknown

Label = Union[str, int, float]
KEYS = ("low", "high", "step", "log")
MAX_VALUES = 100_000


@dataclass(frozen=True)
class Dimension:
    """What is chosen under one name.

    Attributes:
        choices: in their order; empty for a range.
        low, high: ends of a range, both possible; whole numbers where both are.
        step: of a range; None: any number, or any whole one.
        log: whether a range is even in its logarithm.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: Optional[float] = None
    log: bool = False

    @classmethod
    def read(cls, name: str, spec: Any) -> "Dimension":
        """From a list of choices, or `{low: ..., high: ...}` with `step` or `log: true`.

        Raises:
            ConfigError: neither of both, no choice, two that are the same.
        """
        if isinstance(spec, (list, tuple)):
            choices = tuple(spec)
            if not choices:
                raise ConfigError(f"{name}: there is nothing to choose from; give a list such as [1, 2]")
            dimension = cls(name, choices)
            for label in dimension.labels:
                if dimension.labels.count(label) > 1:
                    raise ConfigError(f"{name}: {label} is there twice; give each choice once")
            return dimension
        if not isinstance(spec, Mapping) or not {"low", "high"} <= set(spec):
            raise ConfigError(f"{name}: needs a list of choices, or {{low: ..., high: ...}}, got {spec!r}")
        for key in spec:
            if key not in KEYS:
                raise ConfigError(unknown("key", str(key), KEYS, where=name))
        low, high, step, log = spec["low"], spec["high"], spec.get("step"), spec.get("log")
        for key, value in (("low", low), ("high", high), ("step", step)):
            if (key != "step" or value is not None) and (
                isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
            ):
                raise ConfigError(f"{name}.{key}: needs a number, got {value!r}")
        if not isinstance(log, (bool, type(None))):
            raise ConfigError(f"{name}.log: needs true or false, got {log!r}")
        if not low < high or (step is not None and step <= 0):
            raise ConfigError(f"{name}: needs low < high and a step above 0, got {dict(spec)}")
        if log and (low <= 0 or step is not None):
            raise ConfigError(f"{name}: log needs low above 0, and takes no step; got {dict(spec)}")
        return cls(name, (), low, high, step, bool(log))

    @property
    def labels(self) -> tuple[Label, ...]:
        """The choices as Optuna keeps them."""
        return tuple(label_of(choice) for choice in self.choices)

    @property
    def is_whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def suggest(self, trial: Any) -> Label:
        """What `trial` has for this dimension: a label, or a number."""
        if self.choices:
            chosen: Label = trial.suggest_categorical(self.name, list(self.labels))
            return chosen
        if self.is_whole:
            whole: int = trial.suggest_int(self.name, self.low, self.high, step=int(self.step or 1), log=self.log)
            return whole
        number: float = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return number

    def value(self, label: Label) -> Any:
        """What a label stands for."""
        if not self.choices:
            return label
        return self.choices[self.labels.index(label)]

    def values(self) -> list[Label]:
        """Everything that it can be, as Optuna keeps it.

        Raises:
            ConfigError: numbers without a step, or more than 100,000.
        """
        if self.choices:
            return list(self.labels)
        if self.log or (self.step is None and not self.is_whole):
            raise ConfigError(f"{self.name}: a range without a step has no end of values; give it a step, or choices")
        step = self.step or 1
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        if count > MAX_VALUES:
            raise ConfigError(f"{self.name}: {count:,} values are too many to go through; give it a larger step")
        if self.is_whole:
            return [int(self.low + index * step) for index in range(count)]
        return [round(self.low + index * step, 12) for index in range(count)]

    def first(self) -> Any:
        """One value of it, for a model to look at."""
        return self.choices[0] if self.choices else self.low


def label_of(choice: Any) -> Label:
    """A choice as text, unless it is a text or a number."""
    if isinstance(choice, (str, int, float)) and not isinstance(choice, bool):
        return choice
    return json.dumps(choice)
