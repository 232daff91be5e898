"""What a search's storage holds, as plain records, and what is best among them.

>>> best_so_far([3.0, None, 5.0, 4.0], "maximize")
[3.0, 3.0, 5.0, 5.0]
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.objectives import MAXIMIZE, front
from fairseq.studies.search.trials import ERROR, METRICS, REPLACED, STAGES, Name

COMPLETE, PRUNED, FAILED, RUNNING = "complete", "pruned", "failed", "running"
STATES = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": RUNNING}


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        place: its number among those of its study that count, from 1.
        number: Optuna's.
        values: of the objectives; empty where it has none.
    """

    study: Name
    place: int
    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def read_records(name: Name, study: Any) -> list[Record]:
    """Trials of a study in the order in which they were asked for; those that a later one repeats are left out."""
    found: list[Record] = []
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get(REPLACED) or trial.state.name not in STATES:
            continue
        state = STATES[trial.state.name]
        values = tuple(trial.values) if state == COMPLETE else ()
        attrs = trial.user_attrs
        found.append(
            Record(
                name, len(found) + 1, trial.number, state, dict(trial.params), values, attrs.get(METRICS, {}),
                attrs.get(STAGES, {}), attrs.get(ERROR, ""),
            )
        )  # fmt: skip
    return found


def by_study(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by their study's name."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(str(record.study), []).append(record)
    return found


def best_so_far(values: Sequence[Optional[float]], direction: str) -> list[float]:
    """The best value up to each trial; NaN before the first."""
    better = max if direction == MAXIMIZE else min
    best = math.nan
    found: list[float] = []
    for value in values:
        if value is not None:
            best = value if math.isnan(best) else better(best, value)
        found.append(best)
    return found


def curves(config: SearchConfig, records: Sequence[Record], axis: int = 0) -> dict[str, list[list[float]]]:
    """Sampler, and stage if there are several -> best so far by trial, for each seed; all of one length."""
    found: dict[str, list[list[float]]] = {}
    for own in by_study(records).values():
        values = [record.values[axis] if record.values else None for record in own if record.state != RUNNING]
        if values:
            found.setdefault(_line(config, own[0].study), []).append(best_so_far(values, config.directions[axis]))
    longest = {label: max(map(len, lines)) for label, lines in found.items()}
    return {
        label: [line + [line[-1]] * (longest[label] - len(line)) for line in lines] for label, lines in found.items()
    }


def _line(config: SearchConfig, name: Name) -> str:
    return name.sampler.label if len(config.stages) == 1 else f"{name.sampler.label}, {name.stage}"


def pareto(config: SearchConfig, records: Sequence[Record]) -> list[Record]:
    """The records that no other dominates, by the first objective; one of several that are equal."""
    done = [record for record in records if record.values]
    chosen = [done[index] for index in front([record.values for record in done], config.directions)]
    return sorted(chosen, key=lambda record: record.values, reverse=config.directions[0] == MAXIMIZE)


def best_record(config: SearchConfig, records: Sequence[Record]) -> Optional[Record]:
    """The one with the best value; with several objectives, the one of the Pareto front with the best first one. With
    several stages, of the studies of the last one that is no control.
    """
    of_last = [record for record in records if record.study.stage == config.final_stage]
    done = pareto(config, of_last)
    return done[0] if done else None
