"""Trials of one study: the next one, and what came of it.

Several processes may share a study. Each asks for one trial at a time, under a lock. A trial whose process was killed
is closed and enqueued again with the same choices, before anything else is asked for; it counts once. The grid, and
brute force, end when every cell has been asked for, also after a resume.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, reason
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.dimensions import Label
from fairseq.studies.search.samplers import Grid, Sampler, import_optuna, quiet
from fairseq.studies.search.spaces import Space
from fairseq.studies.search.workers import Worker, locked

WORKER, HOST, BEAT, REPLACED, RETRY, ERROR, METRICS, STAGES = (
    "worker", "host", "beat", "replaced", "retry_of", "error", "metrics", "stages",
)  # fmt: skip
DOCUMENT = "search"


@dataclass(frozen=True)
class Name:
    """Of a study: the sampler, the stage that is its objective, the seed."""

    sampler: Sampler
    stage: str
    seed: int
    stages: int = 1

    def __str__(self) -> str:
        parts = [self.sampler.label, *([self.stage] if self.stages > 1 else []), str(self.seed)]
        return "-".join(parts)


class Trials:
    """The trials of one study.

    Args:
        out: the search's folder.
        storage: Optuna's.

    Raises:
        ConfigError: the storage has a study of that name that asks for something else.
    """

    def __init__(self, config: SearchConfig, space: Space, name: Name, storage: Any, out: Path, worker: Worker):
        self.config, self.space, self.name, self.out, self.worker = config, space, name, out, worker
        optuna = import_optuna()
        self._states = optuna.trial.TrialState
        self.grid = Grid(space.dimensions, name.seed) if name.sampler.is_finite else None
        name.sampler.build(name.seed, 0)  # its options are checked
        with locked(self._lock), quiet():
            self.study = optuna.create_study(
                storage=storage, study_name=str(name), directions=list(config.directions), load_if_exists=True,
                pruner=config.pruner.build(),
            )  # fmt: skip
            self._check_same()

    @property
    def _lock(self) -> Path:
        return self.out / ".trials.lock"

    def _check_same(self) -> None:
        asked = json.dumps(_essence(self.config), sort_keys=True)
        known = self.study.user_attrs.get(DOCUMENT)
        if known is None:
            self.study.set_user_attr(DOCUMENT, asked)
        elif known != asked:
            before, now = json.loads(known), json.loads(asked)
            key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
            raise ConfigError(
                f"the storage holds trials of another search: `{key}` was {json.dumps(before.get(key))[:200]}; give "
                "another --out (and storage), or put it back"
            )

    # --- the next trial ---------------------------------------------------------------------------------------------

    def next(self) -> Optional[Any]:
        """A trial to run, with all that is chosen; None if there are enough, or no cell is left."""
        with locked(self._lock), quiet():
            self._recover()
            trials = [trial for trial in self._trials() if not trial.user_attrs.get(REPLACED)]
            waiting = [trial for trial in trials if trial.state == self._states.WAITING]
            asked = len(trials) - len(waiting)
            if not waiting:
                if asked >= self._limit():
                    return None
                if self.name.sampler.name == "grid":
                    cell = self._next_cell(trials)
                    if cell is None:
                        return None
                    self.study.enqueue_trial(cell)
            self.study.sampler = self._quiet_end(self.name.sampler.build(self.name.seed, asked))
            trial = self.study.ask()
            trial.set_user_attr(HOST, self.worker.host)
            trial.set_user_attr(WORKER, self.worker.name)
            trial.set_user_attr(BEAT, time.time())
            self.space.suggest(trial)
            return trial

    def _limit(self) -> int:
        return self.config.trials if self.grid is None else min(self.config.trials, len(self.grid))

    def _next_cell(self, trials: Sequence[Any]) -> Optional[dict[str, Label]]:
        assert self.grid is not None
        seen = {_cell(trial.params) for trial in trials}
        for place in range(len(self.grid)):
            cell = self.grid.cell(place)
            if _cell(cell) not in seen:
                return cell
        return None

    def _quiet_end(self, sampler: Any) -> Any:
        """A sampler that does not stop `Study.optimize`, which nobody runs, when it has come to its end."""
        if self.name.sampler.name == "brute_force":
            sampler.after_trial = lambda *args, **kwargs: None
        return sampler

    def _recover(self) -> None:
        """Close trials that nobody works on any more, and enqueue them again."""
        trials = self._trials()
        retried = {trial.user_attrs.get(RETRY) for trial in trials}
        for trial in trials:
            if trial.state != self._states.RUNNING:
                continue
            owner, host, beat = (trial.user_attrs.get(key) for key in (WORKER, HOST, BEAT))
            begun = None if trial.datetime_start is None else trial.datetime_start.timestamp()
            if self.worker.lives(owner or "", host or self.worker.host, beat or begun):
                continue
            # enqueued first: a process that is killed in between finds that it is
            complete = set(trial.params) == {dimension.name for dimension in self.space.dimensions}
            if trial.number not in retried and complete:
                self.study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})
            self._close(trial, "its process was killed; it is tried again", replaced=True)

    def _close(self, trial: Any, error: str, replaced: bool = False) -> None:
        storage, number = self.study._storage, trial._trial_id
        if replaced:
            storage.set_trial_user_attr(number, REPLACED, True)
        storage.set_trial_user_attr(number, ERROR, error)
        self.study.tell(trial.number, state=self._states.FAIL, skip_if_finished=True)

    def _trials(self) -> list[Any]:
        return list(self.study.get_trials(deepcopy=False))

    # --- what came of it --------------------------------------------------------------------------------------------

    def beat(self, trial: Any, now: float) -> None:
        """Say that its process lives."""
        trial.set_user_attr(BEAT, now)

    def finish(
        self, trial: Any, values: Sequence[float], metrics: Mapping[str, Any], stages: Mapping[str, Any]
    ) -> None:
        """It has a result."""
        trial.set_user_attr(METRICS, dict(metrics))
        trial.set_user_attr(STAGES, {stage: dict(numbers) for stage, numbers in stages.items()})
        with quiet():
            self.study.tell(trial, list(values))

    def prune(self, trial: Any) -> None:
        """The pruner ended it."""
        with quiet():
            self.study.tell(trial, state=self._states.PRUNED)

    def fail(self, trial: Any, error: BaseException) -> None:
        """It has no result, and why."""
        trial.set_user_attr(ERROR, reason(error) if not isinstance(error, Exception) else " ".join(str(error).split()))
        with quiet():
            self.study.tell(trial, state=self._states.FAIL)

    @property
    def is_unfinished(self) -> bool:
        """Whether others still work on it."""
        return any(trial.state == self._states.RUNNING for trial in self._trials())


def _cell(params: Mapping[str, Label]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


def _essence(config: SearchConfig) -> dict[str, Any]:
    """What may not change between the parts of a search: all but how long, by whom and where."""
    free = ("samplers", "seeds", "trials", "storage", "test", "reuse")
    return {key: value for key, value in config.document.items() if key not in free}
