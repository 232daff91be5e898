"""The table that compares runs: how each ended, what it reached, what it cost."""

from collections.abc import Sequence
from typing import Any, Optional

from fairseq.pages.charts import color
from fairseq.pages.markup import Html, tag
from fairseq.pages.numbers import NOTHING, count, duration, number, percent, short, si, size
from fairseq.pages.plan_map import bounds
from fairseq.pages.run_data import RunData
from fairseq.pages.tables import Cell, table
from fairseq.studies.plots import default_panels

FULL_BITS = 32


def comparison(runs: Sequence[RunData]) -> Html:
    """One line a run; columns that no run has a value for are left out."""
    panels = [key for key in default_panels([run.run for run in runs]) if key not in ("lr", "num_bits")]
    metrics = list(dict.fromkeys(panels))
    reference = next((run for run in runs if seconds_per_update(run) and not run.is_quantized), None)
    columns: list[tuple[str, list[Any]]] = [
        ("run", [_link(place, run) for place, run in enumerate(runs)]),
        ("state", [run.state() for run in runs]),
        ("updates", [Cell(run.run.last_update() or None, count) for run in runs]),
    ]
    for key in metrics:
        columns.append((f"{key}, last", [Cell(_last(run, key)) for run in runs]))
        if key != "loss" or not any(_best(run, key) is None for run in runs):
            columns.append((f"{key}, best", [Cell(_best(run, key)) for run in runs]))
    columns += [
        ("bits", [_bits(run) for run in runs]),
        ("BitOPs", [Cell(_bitops(run), si) for run in runs]),
        ("of fp32", [Cell(_share(run), percent) for run in runs]),
        ("saved by schedule", [Cell(_saved(run), percent) for run in runs]),
        ("training", [Cell(_seconds(run), duration) for run in runs]),
        ("s/update", [Cell(seconds_per_update(run)) for run in runs]),
    ]
    if reference is not None and len(runs) > 1:
        usual = seconds_per_update(reference)
        ratios = [seconds / usual if (seconds := seconds_per_update(run)) and usual else None for run in runs]
        columns.append((f"time of {reference.name}", [Cell(ratio, _times) for ratio in ratios]))
    columns += [
        ("peak memory", [Cell(_memory(run), size) for run in runs]),
        ("parameters", [Cell(_parameters(run), count) for run in runs]),
        ("checkpoint", [Cell(_checkpoint(run), size) for run in runs]),
    ]
    kept = [(name, cells) for name, cells in columns if name in ("run", "state") or any(map(_has_value, cells))]
    rows = [[cells[place] for _, cells in kept] for place in range(len(runs))]
    return table([name for name, _ in kept], rows, "runs; a click on a heading sorts" if len(runs) > 1 else "the run")


def seconds_per_update(run: RunData) -> Optional[float]:
    """Of training alone, as the run reports it (`train_wall` of its epochs); else of everything."""
    walls = [number(record.get("train_wall")) for record in run.run.records if record["tag"] == "train"]
    updates = max((record["num_updates"] for record in run.run.records if record["tag"] == "train"), default=0)
    total = sum(wall for wall in walls if wall is not None)
    if total and updates:
        return total / updates
    seconds = _seconds(run)
    return seconds / run.run.last_update() if seconds and run.run.last_update() else None


def _link(place: int, run: RunData) -> Html:
    return tag("a", tag("i", class_="swatch", **color(place)), run.name, href=f"#run-{place + 1}")


def _has_value(cell: Any) -> bool:
    return cell.value is not None if isinstance(cell, Cell) else cell != NOTHING


def _last(run: RunData, key: str) -> Optional[float]:
    for tag_ in ("valid", "train", "train_inner"):
        points = run.run.series(tag_, key)
        if points:
            return points[-1][1]
    return None


def _best(run: RunData, key: str) -> Optional[float]:
    values = [number(record.get(f"best_{key}")) for record in run.run.records]
    known = [value for value in values if value is not None]
    best = run.record.get("best")
    if isinstance(best, dict) and best.get("metric") == key and number(best.get("value")) is not None:
        return number(best["value"])
    return known[-1] if known else None


def _bits(run: RunData) -> Cell:
    if not run.is_quantized:
        return Cell(FULL_BITS if run.run.records or run.config else None, lambda bits: short(bits))
    edges = [(low, high) for row in run.plan for low, high in [bounds(row)] if low is not None and high is not None]
    low, high = min(low for low, _ in edges), max(high for _, high in edges)
    return Cell((low + high) / 2, f"{low}-{high}" if low != high else str(high))


def _bitops(run: RunData) -> Optional[float]:
    cost = run.record.get("bitops")
    if isinstance(cost, dict):
        parts = [number(cost.get(key)) for key in ("quantized", "full", "quantizing")]
        if None not in parts:
            return sum(part for part in parts if part is not None)
    points = run.run.series("train_inner", "bitops") or run.run.series("train", "bitops")
    return number(run.end.get("bitops")) or (points[-1][1] if points else None)


def _share(run: RunData) -> Optional[float]:
    bitops, full = _bitops(run), number(run.end.get("full_precision_bitops"))
    return bitops / full if bitops and full else None


def _saved(run: RunData) -> Optional[float]:
    cost = run.record.get("bitops")
    if not isinstance(cost, dict):
        return None
    quantized, static = number(cost.get("quantized")), number(cost.get("static"))
    return 1 - quantized / static if quantized is not None and static and static != quantized else None


def _seconds(run: RunData) -> Optional[float]:
    walls = [number(record.get("wall")) for record in run.run.records]
    return number(run.record.get("seconds")) or max((wall for wall in walls if wall is not None), default=None)


def _memory(run: RunData) -> Optional[float]:
    peaks = run.record.get("peak_memory")
    values = [number(peak) for peak in peaks.values()] if isinstance(peaks, dict) else []
    return max((value for value in values if value is not None), default=None)


def _parameters(run: RunData) -> Optional[float]:
    parameters = run.record.get("parameters")
    return number(parameters.get("total")) if isinstance(parameters, dict) else None


def _checkpoint(run: RunData) -> Optional[int]:
    return max(run.checkpoints, key=lambda file: file.updated).size if run.checkpoints else None


def _times(ratio: Any) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}x"
