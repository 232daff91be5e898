"""Optuna's samplers and pruners by name, seeded anew for each trial.

A sampler that is made with one seed starts its random numbers from the beginning after a resume, and would draw the
first trials again. So there is one for each trial, whose seed comes from the search's seed and the trial's number: the
same seed gives the same trials, whether or not the search was interrupted.

The grid is gone through in an order that the seed decides. Optuna's GridSampler would repeat a cell after the last one,
and never try a cell again whose process was killed; here each cell is enqueued (`trials.py`).

>>> Sampler.read({"name": "tpe", "n_startup_trials": 5}).label
'tpe'
"""

import contextlib
import hashlib
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.errors import ConfigError, reason, unknown
from fairseq.studies.search.dimensions import Dimension, Label

# name -> class of optuna.samplers
SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "grid": "RandomSampler",  # draws nothing: cells are enqueued
    "nsga2": "NSGAIISampler",
    "brute_force": "BruteForceSampler",
    "qmc": "QMCSampler",
}
ALIASES = {"nsgaii": "nsga2", "nsga-ii": "nsga2", "brute": "brute_force", "bruteforce": "brute_force"}
FINITE = ("grid", "brute_force")
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
}
MAX_CELLS = 10**9


def import_optuna() -> Any:
    """The package, quiet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("fairseq-search needs Optuna; install it with: pip install 'fairseq[study]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@dataclass(frozen=True)
class Sampler:
    """A sampler by name, with options of Optuna's class; `label` names it in tables and plots."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    given_label: Optional[str] = None

    @property
    def label(self) -> str:
        return self.given_label or self.name

    @property
    def is_finite(self) -> bool:
        return self.name in FINITE

    @classmethod
    def read(cls, entry: Any) -> "Sampler":
        """From a name, or `{name: tpe, OPTION: VALUE, label: ...}`."""
        name, options = _named(entry, "samplers", SAMPLERS, ALIASES)
        label = options.pop("label", None)
        if label is not None and (not isinstance(label, str) or not label or "/" in label):
            raise ConfigError(f"samplers: label: needs a text without /, got {label!r}")
        sampler = cls(name, options, label)
        if "seed" in options:
            raise ConfigError(f"samplers: {name}: seeds stand under `seeds`")
        if options and name == "grid":
            raise ConfigError(f"samplers: grid has no options, got {', '.join(options)}")
        return sampler

    def build(self, seed: int, number: int) -> Any:
        """Optuna's sampler for trial `number`.

        Raises:
            ConfigError: an option that it does not have.
        """
        optuna = import_optuna()
        kind = getattr(optuna.samplers, SAMPLERS[self.name])
        with quiet():
            try:
                return kind(seed=_seed(seed, number), **self.options)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"samplers: {self.name}: {reason(error)}") from None


@dataclass(frozen=True)
class Pruner:
    """A pruner by name, with options of Optuna's class."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, entry: Any) -> "Pruner":
        """From a name, or `{name: median, n_startup_trials: 3}`; None: no pruner."""
        name, options = _named("none" if entry is None else entry, "pruner", PRUNERS, {})
        pruner = cls(name, options)
        return pruner

    def build(self) -> Any:
        """Optuna's pruner.

        Raises:
            ConfigError: an option that it does not have, or lacks.
        """
        kind = getattr(import_optuna().pruners, PRUNERS[self.name])
        with quiet():
            try:
                return kind(**self.options)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"pruner: {self.name}: {reason(error)}") from None


def _named(entry: Any, where: str, known: Mapping[str, str], aliases: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    options = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise ConfigError(f"{where}: needs a name such as {next(iter(known))}, or {{name: ...}}, got {entry!r}")
    name = str(options["name"]).lower()
    name = aliases.get(name, name)
    if name not in known:
        raise ConfigError(unknown("name", name, known, where=where))
    return name, {key: value for key, value in options.items() if key != "name"}


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "little") >> 1


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of what is experimental in Optuna."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Grid:
    """All combinations, in an order that the seed decides.

    >>> grid = Grid([Dimension.read("x", [1, 2]), Dimension.read("y", ["a", "b", "c"])], seed=1)
    >>> len(grid), len({tuple(cell.items()) for cell in map(grid.cell, range(6))})
    (6, 6)
    """

    def __init__(self, dimensions: Sequence[Dimension], seed: int):
        self.names = [dimension.name for dimension in dimensions]
        self.values = [dimension.values() for dimension in dimensions]
        self._size = 1
        for values in self.values:
            self._size *= len(values)
        self._order = random.Random(_seed(seed, 0))
        self._drawn: list[int] = []

    def __len__(self) -> int:
        return min(self._size, MAX_CELLS)

    def cell(self, place: int) -> dict[str, Label]:
        """The cell that comes at `place`."""
        if not self._drawn:
            # a sample of a large grid is drawn without listing it; a longer one does not begin with a shorter one
            count = len(self) if len(self) <= 100_000 else 100_000
            self._drawn = self._order.sample(range(self._size if self._size < 2**62 else 2**62), count)
        index, found = self._drawn[place], {}
        for name, values in zip(self.names, self.values, strict=True):
            index, rest = divmod(index, len(values))
            found[name] = values[rest]
        return found
