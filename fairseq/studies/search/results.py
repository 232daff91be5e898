"""trials.csv and table.md of a search.

`trials.csv` has a line for each trial: study, sampler, stage, seed, trial, state, the objectives' values, a column for
each choice (`choice NAME`), each number of the last stage, and of each stage (`STAGE/NAME`), and why it failed.
"""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq.studies.files import replace_file
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.objectives import MAXIMIZE, front
from fairseq.studies.search.records import (
    COMPLETE,
    FAILED,
    PRUNED,
    Record,
    best_record,
    by_study,
    curves,
    pareto,
)

MOST_FAILED = 20


def write_csv(config: SearchConfig, records: Sequence[Record], path: Path) -> None:
    """Write `trials.csv`."""
    rows = [_row(config, record) for record in records]
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "error"))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "error"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue())


def _row(config: SearchConfig, record: Record) -> dict[str, Any]:
    name = record.study
    row: dict[str, Any] = {
        "study": str(name), "sampler": name.sampler.label, "stage": name.stage, "seed": name.seed,
        "trial": record.place, "state": record.state,
    }  # fmt: skip
    for index, value_name in enumerate(config.value_names):
        row[f"value {value_name}"] = record.values[index] if record.values else ""
    row |= {f"choice {key}": value for key, value in record.params.items()}
    row |= dict(record.metrics)
    if len(record.stages) > 1:
        row |= {f"{stage}/{key}": value for stage, numbers in record.stages.items() for key, value in numbers.items()}
    return {**row, "error": record.error}


def write_table(
    config: SearchConfig, records: Sequence[Record], path: Path, more: Mapping[str, Any], checks: Sequence[Any] = ()
) -> None:
    """Write `table.md`.

    Args:
        more: title -> lines, in front.
        checks: rows of `check_architecture`.
    """
    parts = [f"# Search: {config.config_name}", *(f"{title}: {text}" for title, text in more.items())]
    for axis, name in enumerate(config.value_names):
        found = curves(config, records, axis)
        if found:
            parts.append(f"## Best {name} of {_trials(config, found)}\n\n{_samplers(config, found, axis)}")
            parts += _verdicts(found, config.directions[axis])
    if len(config.directions) > 1:
        parts.append(f"## Pareto front\n\n{_front(config, pareto(config, records))}")
        parts.append(f"## Size of each study's front\n\n{_fronts(config, records)}")
    best = best_record(config, records)
    if best is not None:
        choices = [{"choice": key, "value": _text(value)} for key, value in best.params.items()]
        parts.append(
            f"## Best trial: {best.study}, trial {best.place}\n\n{_numbers(config, best)}\n\n{markdown(choices)}"
        )
    if checks:
        parts.append(f"## What each choice of the architecture changes\n\n{markdown(checks)}")
    failed = [record for record in records if record.state == FAILED]
    if failed:
        rows = [
            {"study": str(record.study), "trial": record.place, "why": record.error} for record in failed[:MOST_FAILED]
        ]
        more_of_them = f"\n\nand {len(failed) - MOST_FAILED} more in trials.csv" if len(failed) > MOST_FAILED else ""
        parts.append(f"## Failed: {len(failed)}\n\n{markdown(rows)}{more_of_them}")
    replace_file(path, "\n\n".join(parts) + "\n")


def _trials(config: SearchConfig, found: Mapping[str, list[list[float]]]) -> str:
    return f"{max(len(line) for lines in found.values() for line in lines)} trials"


def _samplers(config: SearchConfig, found: Mapping[str, list[list[float]]], axis: int) -> str:
    rows = []
    for label, lines in found.items():
        finals = [line[-1] for line in lines if not math.isnan(line[-1])]
        if finals:
            rows.append({
                "sampler": label, "mean": f"{statistics.fmean(finals):.5g}",
                "deviation": f"{_deviation(finals):.3g}", "seeds": len(finals), "trials": len(lines[0]),
                "each seed": ", ".join(f"{value:.4g}" for value in finals),
            })  # fmt: skip
    return markdown(rows)


def _verdicts(found: Mapping[str, list[list[float]]], direction: str) -> list[str]:
    """TPE against every other sampler at equal trials, with the noise over seeds."""
    lines = []
    for label, own in found.items():
        name, comma, stage = label.partition(", ")
        if name.startswith("tpe"):
            others = [other for other in found if other != label and other.partition(", ")[1:] == (comma, stage)]
            lines += [verdict(label, other, own, found[other], direction) for other in others]
    return lines


def verdict(
    label: str, other: str, own: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], direction: str
) -> str:
    """One sentence: the difference of means at as many trials as both have, and whether it is more than noise.

    >>> verdict("tpe", "grid", [[1.0, 5.0], [1.0, 5.2]], [[1.0, 3.0], [1.0, 3.1]], "maximize")
    'tpe against grid after 2 trials: 2.05 better, standard error 0.11: more than noise (over two standard errors).'
    """
    count = min(len(line) for line in (*own, *theirs))
    ours, others = ([line[count - 1] for line in lines if not math.isnan(line[count - 1])] for lines in (own, theirs))
    head = f"{label} against {other} after {count} trials:"
    if not ours or not others:
        return f"{head} one of them has no result."
    gain = statistics.fmean(ours) - statistics.fmean(others)
    gain = gain if direction == MAXIMIZE else -gain
    words = f"{abs(gain):.3g} {'better' if gain >= 0 else 'worse'}"
    if len(ours) < 2 or len(others) < 2:
        return f"{head} {words}; several seeds are needed to tell it from noise."
    error = math.sqrt(_deviation(ours) ** 2 / len(ours) + _deviation(others) ** 2 / len(others))
    real = "more than noise (over two standard errors)" if abs(gain) > 2 * error else "not more than noise"
    return f"{head} {words}, standard error {error:.2g}: {real}."


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _front(config: SearchConfig, chosen: Sequence[Record]) -> str:
    rows = []
    for record in chosen:
        row: dict[str, Any] = {
            name: _text(value) for name, value in zip(config.value_names, record.values, strict=True)
        }
        row |= {"study": str(record.study), "trial": record.place}
        rows.append({**row, "choices": ", ".join(f"{key}={_text(value)}" for key, value in record.params.items())})
    return markdown(rows)


def _fronts(config: SearchConfig, records: Sequence[Record]) -> str:
    rows = []
    for name, own in by_study(records).items():
        values = [record.values for record in own if record.values]
        states = {state: sum(record.state == state for record in own) for state in (COMPLETE, PRUNED, FAILED)}
        rows.append({"study": name, **states, "on its front": len(front(values, config.directions))})
    return markdown(rows)


def _numbers(config: SearchConfig, record: Record) -> str:
    stages = record.stages if len(record.stages) > 1 else {record.study.stage: record.metrics}
    return markdown(
        [{"stage": stage, **{key: _text(value) for key, value in numbers.items()}} for stage, numbers in stages.items()]
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
    return str(value)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table.

    >>> print(markdown([{"a": 1, "b": "x|y"}]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name)) for name in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Optional[Any]) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
