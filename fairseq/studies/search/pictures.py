"""Plots of a search: best so far, the Pareto front, the stages of compression."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq.studies import plots
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.objectives import MAXIMIZE
from fairseq.studies.search.records import Record, by_study, curves

INK, MUTED = "#222222", "#8a8a8a"
BEST, PARETO, COMPRESSION = "best_so_far.png", "pareto.png", "compression.png"
STAGE_NAMES = {
    "none": "without compression",
    "compressed": "with compression",
    "finetuned": "with compression, trained afterwards",
    "control": "trained as long, without compression",
}
LABELS = {
    "accuracy": "accuracy (%)", "average_bits": "average bits of a weight", "memory": "memory (MiB)",
    "bitops": "bit operations of one example", "latency": "latency (ms)", "loss": "loss (bits)",
}  # fmt: skip


def draw_all(config: SearchConfig, records: Sequence[Record], out: Path) -> list[Path]:
    """All plots for which there is something to draw.

    Raises:
        ConfigError: matplotlib is not installed. DataError: a file cannot be written.
    """
    done = []
    if any(record.values for record in records):
        if len(config.stages) > 1:
            plots.save(_best(config, records, _by_stage(config, records), "stage"), out / COMPRESSION)
            done.append(out / COMPRESSION)
        lines = [curves(config, records, axis) for axis in range(len(config.directions))]
        plots.save(_best(config, records, lines, "sampler"), out / BEST)
        done.append(out / BEST)
    if len(config.objectives) > 1 and any(record.metrics for record in records):
        plots.save(_pareto(config, records), out / PARETO)
        done.append(out / PARETO)
    return done


def _by_stage(config: SearchConfig, records: Sequence[Record]) -> list[dict[str, list[list[float]]]]:
    """For each objective, stage -> a line for each sampler and seed."""
    found: list[dict[str, list[list[float]]]] = []
    for axis in range(len(config.directions)):
        of_axis: dict[str, list[list[float]]] = {}
        for stage in config.stages:
            own = [record for record in records if record.study.stage == stage]
            lines = [line for lines in curves(config, own, axis).values() for line in lines]
            if lines:
                longest = max(map(len, lines))
                of_axis[STAGE_NAMES[stage]] = [line + [line[-1]] * (longest - len(line)) for line in lines]
        found.append(of_axis)
    return found


def _best(
    config: SearchConfig, records: Sequence[Record], lines: Sequence[Mapping[str, list[list[float]]]], title: str
) -> Any:
    figure = plots.new_figure()
    figure.set_size_inches(0.6 + 5.4 * len(lines), 4.2)
    axes = figure.subplots(1, len(lines), squeeze=False)[0]
    labels = list(dict.fromkeys(label for of_axis in lines for label in of_axis))
    colors = dict(zip(labels, plots.colors(len(labels)), strict=True))
    for axis, of_axis, name in zip(axes, lines, config.value_names, strict=True):
        plots.style(axis, f"best {LABELS.get(name, name.replace('_', ' '))} so far")
        axis.set_xlabel("trials", fontsize=9, color=MUTED)
        axis.xaxis.get_major_locator().set_params(integer=True)
        for label, seeds in of_axis.items():
            _band(axis, seeds, colors[label])
        axis.margins(x=0.02)
    _legend(figure, colors)
    band = f"{len(config.seeds)} seeds: mean, band of one standard deviation" if len(config.seeds) > 1 else "one seed"
    figure.suptitle(f"{config.config_name}, by {title} ({band})", x=0.01, ha="left", fontsize=10.5, color=INK)
    return figure


def _band(axis: Any, seeds: Sequence[Sequence[float]], color: Any) -> None:
    points = []
    for place, values in enumerate(zip(*seeds, strict=True), 1):
        known = [value for value in values if not math.isnan(value)]
        if len(known) == len(values):  # a mean of some seeds alone would jump when the others come
            points.append((place, statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0))
    if not points:
        return
    x, mean, deviation = zip(*points, strict=True)
    axis.plot(x, mean, color=color, linewidth=1.8, marker="o" if len(x) < 3 else None, markersize=4)
    low, high = ([m + sign * d for m, d in zip(mean, deviation, strict=True)] for sign in (-1, 1))
    axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def _pareto(config: SearchConfig, records: Sequence[Record]) -> Any:
    """Every trial by its first objective and each of the others, and the front of these two."""
    figure = plots.new_figure()
    first, *others = config.objectives
    figure.set_size_inches(0.6 + 5.4 * len(others), 4.4)
    axes = figure.subplots(1, len(others), squeeze=False)[0]
    labels = list(dict.fromkeys(own[0].study.sampler.label for own in by_study(records).values()))
    colors = dict(zip(labels, plots.colors(len(labels)), strict=True))
    for axis, other in zip(axes, others, strict=True):
        plots.style(axis, f"{LABELS.get(first.metric, first.metric)} against {LABELS.get(other.metric, other.metric)}")
        axis.set_xlabel(LABELS.get(other.metric, other.metric), fontsize=9, color=MUTED)
        shown = [record for record in records if record.metrics.get(first.metric) is not None
                 and record.metrics.get(other.metric) is not None]  # fmt: skip
        for label in labels:
            own = [record for record in shown if record.study.sampler.label == label]
            xs = [record.metrics[other.metric] for record in own]
            ys = [record.metrics[first.metric] for record in own]
            axis.plot(xs, ys, linestyle="none", marker="o", markersize=4.5, alpha=0.55, color=colors[label])
        points = _front_of_two(shown, first, other)
        axis.plot(*zip(*points, strict=True), color=INK, linewidth=1.4, drawstyle=_steps(first, other))
    entries = {**colors, "front": INK}
    _legend(figure, entries)
    return figure


def _front_of_two(records: Sequence[Record], first: Any, other: Any) -> list[tuple[float, float]]:
    from fairseq.studies.search.objectives import front

    values = [(record.metrics[first.metric], record.metrics[other.metric]) for record in records]
    chosen = front(values, (first.direction, other.direction))
    return sorted((values[index][1], values[index][0]) for index in chosen)


def _steps(first: Any, other: Any) -> str:
    """A step holds what is reached up to the next better point."""
    return "steps-post" if other.direction != MAXIMIZE else "steps-pre"


def _legend(figure: Any, colors: Mapping[str, Any]) -> None:
    from matplotlib.lines import Line2D

    handles = {label: Line2D([], [], color=color, linewidth=2.2) for label, color in colors.items()}
    plots.legend_below(figure, handles)
