"""`run_search`: every study of a search, in this process; others may do the same at the same time.

run_search(read_config("search.yaml"), Path("out"))
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from torch import nn

from fairseq import tasks
from fairseq.dataclass.initialize import compose
from fairseq.errors import ConfigError, DataError, FairseqError, reason
from fairseq.plugins import import_user_module
from fairseq.studies.isolation import isolated
from fairseq.studies.search.architecture import check_architecture
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.final import score_best, write_results, write_table_of
from fairseq.studies.search.loaded_model import LoadedModel
from fairseq.studies.search.objectives import value_of, weighted_sum
from fairseq.studies.search.precision import Precision
from fairseq.studies.search.records import RUNNING
from fairseq.studies.search.spaces import Space
from fairseq.studies.search.stages import Outcome, Pruned, Stages, Subsets
from fairseq.studies.search.storage import DEFAULT, open_storage
from fairseq.studies.search.trials import Name, Trials
from fairseq.studies.search.under_way import Search
from fairseq.studies.search.words import word
from fairseq.studies.search.workers import Worker, beating

LOG = "search.log"
MOST_FAILURES = 3  # in a row from the start: the search itself is wrong
TABLES_SECONDS = 20.0  # between two writings of trials.csv and table.md
Say = Callable[[str], None]


def prepare(config: SearchConfig, out: Path, worker: Worker) -> Search:
    """Check everything that can be checked before the first trial, and open the storage.

    Raises:
        ConfigError: whatever is wrong.
    """
    out.mkdir(parents=True, exist_ok=True)
    with isolated(out / LOG):
        checks = check_architecture(_dimensions(config), lambda values: build_model(config, values))
        precision = None
        if config.precision is not None:
            if config.architecture:
                raise ConfigError(
                    "precision needs one architecture, whose layers it can name; search the architecture first, and "
                    "precision with its best.yaml"
                )
            precision = _read_precision(config)
    space = Space(config, precision)
    storage = open_storage(config.storage, out)
    names = [
        Name(sampler, stage, seed, len(config.stages))
        for seed in config.seeds
        for sampler in config.samplers
        for stage in config.stages
    ]
    return Search(
        config, out, space, precision, checks,
        [Trials(config, space, name, storage, out, worker) for name in names],
    )  # fmt: skip


def _dimensions(config: SearchConfig) -> list[Any]:
    from fairseq.studies.search.dimensions import Dimension

    return [Dimension.read(key, spec) for key, spec in config.architecture.items()]


def build_model(config: SearchConfig, values: Mapping[str, Any]) -> nn.Module:
    """The model of the configuration with these settings, before it is quantized."""
    model: nn.Module = _composed(config, values)[2]
    return model


def _composed(config: SearchConfig, values: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Config, task and model."""
    words = [*config.common, *(word(key, value) for key, value in values.items())]
    cfg = compose(config.config_name, config.config_dir, words)
    import_user_module(cfg.common)
    task = tasks.setup_task(cfg.task)
    return cfg, task, task.build_model(cfg.model)


def _read_precision(config: SearchConfig) -> Precision:
    """The section `precision` for the modules that one batch needs."""
    cfg, task, model = _composed(config, {})
    assert config.precision is not None
    loaded = LoadedModel.of(cfg, task, model, cfg.criterion, subsets_of(config)[0].score)
    return Precision.read(config.precision, model, loaded.used())


def subsets_of(config: SearchConfig) -> tuple[Subsets, Optional[Subsets]]:
    """What trials train on and are scored on, and what the best one is."""
    base = compose(config.config_name, config.config_dir, config.common).dataset.train_subset
    if config.select is not None:
        selection = Subsets(base, config.select)
    else:
        cut = f"{100 - config.holdout:g}%"
        selection = Subsets(f"{base}[:{cut}]", f"{base}[{cut}:]")
    return selection, None if config.test is None else Subsets(base, config.test)


def run_search(config: SearchConfig, out: Path, say: Say = print, is_helper: bool = False) -> Search:
    """Run what is left of a search, and write its results.

    Args:
        is_helper: leave the end to another process.

    Raises:
        ConfigError: the search is wrong. DataError: its storage cannot be written.
    """
    logging.getLogger("optuna").setLevel(logging.ERROR)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {reason(error)}; choose another --out") from None
    with Worker(out) as worker, _storage_errors():
        search = prepare(config, out, worker)
        selection, test = subsets_of(config)
        runner = Stages(config, out / "runs", selection)
        clock = Clock(len(search.studies) * config.trials)
        for trials in search.studies:
            while (trial := trials.next()) is not None:
                _run_trial(search, trials, trial, runner, clock, say)
        running = sum(record.state == RUNNING for record in search.records)
        if is_helper:
            return search
        if running:
            say(f"{running} trials are still run by other processes; the last one to end scores the best")
        else:
            for checkpoint in (out / "runs").glob("*/checkpoint*.pt"):
                checkpoint.unlink(missing_ok=True)  # of trainings that trials have shared
            score_best(search, test, say)
        for path in write_results(search):
            say(f"wrote {path}")
    return search


def report(config: SearchConfig, out: Path, say: Say = print) -> None:
    """Tables and plots of the trials that there are.

    Raises:
        ConfigError: there is no search in `out`.
    """
    if config.storage is None and not (out / DEFAULT).exists():
        raise ConfigError(f"{out} holds no search yet; run it without --report")
    with Worker(out) as worker, _storage_errors():
        for path in write_results(prepare(config, out, worker)):
            say(f"wrote {path}")


def _run_trial(search: Search, trials: Trials, trial: Any, runner: Stages, clock: "Clock", say: Say) -> None:
    config = search.config
    assignment = search.space.assignment(trial.params)
    stage = trials.name.stage
    name = None if config.reuse else f"{trials.name}-{trial.number}"
    start = time.perf_counter()
    with beating(lambda now: trials.beat(trial, now)):
        try:
            outcome = runner.run(assignment, stage, _reporter(search, trial), name)
            values = values_of(config, outcome)
            trials.finish(trial, values, outcome.metrics, outcome.stages)
            shown = ", ".join(f"{key} {value:.4g}" for key, value in zip(config.value_names, values, strict=True))
        except Pruned:
            trials.prune(trial)
            shown = "pruned"
        except MissingObjective as error:
            trials.fail(trial, error)
            raise ConfigError(str(error)) from None
        except Exception as error:
            trials.fail(trial, error if isinstance(error, FairseqError) else _named(error))
            shown = f"failed: {' '.join(str(error).split())[:160]}"
            _give_up_early(search, error)
    if clock.is_time_for_tables():
        write_table_of(search)
    say(f"{trials.name} trial {trial.number + 1}: {shown} ({time.perf_counter() - start:.1f} s{clock.left()})")


class MissingObjective(ConfigError):
    """No trial of the search will have it."""


def values_of(config: SearchConfig, outcome: Outcome) -> list[float]:
    """The objectives' values.

    Raises:
        MissingObjective: there is no such number.
    """
    try:
        values = [value_of(objective, outcome.metrics) for objective in config.objectives]
    except ConfigError as error:
        raise MissingObjective(str(error)) from None
    return [weighted_sum(config.objectives, values)] if config.total else values


def _reporter(search: Search, trial: Any) -> Optional[Callable[[int, Mapping[str, float]], bool]]:
    """Tells the pruner of each validation; None without one."""
    config = search.config
    if config.pruner.name == "none":
        return None
    objective = next((each for each in config.objectives), None)

    def report(step: int, numbers: Mapping[str, float]) -> bool:
        if objective is None or objective.metric not in numbers:
            raise MissingObjective(
                f"pruner: validation does not report {objective.metric if objective else ''}, the first objective; it "
                f"reports {', '.join(numbers)}"
            )
        sign = -1 if config.total and objective.direction == "minimize" else 1
        trial.report(sign * numbers[objective.metric], step)
        return bool(trial.should_prune())

    return report


def _named(error: Exception) -> FairseqError:
    return DataError(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")


def _give_up_early(search: Search, error: Exception) -> None:
    """Raise where the first trials have all failed: the next ones would, too."""
    records = [record for record in search.records if record.state != RUNNING]
    if len(records) >= MOST_FAILURES and all(record.state == "failed" for record in records):
        raise ConfigError(f"the first {len(records)} trials have failed; the last one: {error}") from None


class Clock:
    """How long the trials that are left will take, at the pace so far."""

    def __init__(self, total: int):
        self.total, self.done, self.start = total, 0, time.perf_counter()
        self.written = -TABLES_SECONDS

    def is_time_for_tables(self) -> bool:
        """Now and then: with many trials, writing them takes as long as a short trial."""
        now = time.perf_counter()
        if now - self.written < TABLES_SECONDS:
            return False
        self.written = now
        return True

    def left(self) -> str:
        """In words, after one more trial."""
        self.done += 1
        seconds = (time.perf_counter() - self.start) / self.done * (self.total - self.done)
        if seconds <= 0:
            return ""
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"


class _storage_errors:
    """Errors of databases as one line."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        modules: Sequence[str] = ("sqlalchemy", "optuna", "sqlite3")
        if error is not None and type(error).__module__.partition(".")[0] in modules:
            raise DataError(
                f"the search's storage failed ({type(error).__name__}: {reason(error)}); the same command goes on"
            ) from error
