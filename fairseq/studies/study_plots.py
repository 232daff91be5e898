"""The pictures of a study: `bitops.png`, `curves.png`, and one for each dimension of numbers.

    draw_study(read_study(Path("OUT")))

- `bitops.png`: the metric against BitOPs of training over full precision, mean and standard deviation over seeds.
- `curves.png`: the metric of each validation over updates, mean with a band of one standard deviation.
- `NAME.png`: the metric against the dimension NAME, one line a row. Rows without the dimension are level lines.

One panel for each value of the first dimension that holds no numbers, such as the task.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from fairseq.studies.plots import LABELS, colors, legend_below, new_figure, save, style
from fairseq.studies.study_folder import Study
from fairseq.studies.study_lines import Panel, along, curve, deviation, lines, mean, numeric_dimensions, panels


def draw_study(study: Study) -> list[str]:
    """Draw what there is to draw; returns the names of the files.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: a file cannot be written.
    """
    pictures = {"bitops.png": draw_bitops(study), "curves.png": draw_curves(study)}
    for name in numeric_dimensions(study):
        pictures[f"{name.replace('/', '_')}.png"] = draw_dimension(study, name)
    drawn = {name: figure for name, figure in pictures.items() if figure is not None}
    for name, figure in drawn.items():
        save(figure, study.folder / name)
    return list(drawn)


def draw_bitops(study: Study) -> Optional[Any]:
    """Metric against BitOPs; None where no cell has both."""
    figure, axes, hues = _panels(study, [])
    numbers = numeric_dimensions(study)
    drawn = False
    for axis, panel in axes:
        for line in lines(study, panel.cells, numbers):
            points = line.points(numbers)
            if points:
                drawn = True
                _points(axis, points, hues[line.row], line.label)
        axis.set_xlabel("BitOPs of training (% of full precision)", fontsize=9)
    return _finished(figure, axes) if drawn else None


def draw_curves(study: Study) -> Optional[Any]:
    """Metric of every validation over updates; None where no cell has any."""
    figure, axes, hues = _panels(study, [])
    drawn = False
    for axis, panel in axes:
        for line in lines(study, panel.cells):
            at = curve(line.cells)
            if at:
                drawn = True
                _band(axis, at, hues[line.row], line.label)
        axis.set_xlabel("updates", fontsize=9)
    return _finished(figure, axes) if drawn else None


def draw_dimension(study: Study, name: str) -> Optional[Any]:
    """Metric against the numbers of the dimension `name`."""
    figure, axes, hues = _panels(study, [name])
    drawn = False
    for axis, panel in axes:
        for line in lines(study, panel.cells, [name]):
            by_value, level = along(line, name)
            if level:
                axis.axhline(mean(level), color=hues[line.row], linewidth=1.2, linestyle="--", label=line.label)
                spread = deviation(level)
                axis.axhspan(mean(level) - spread, mean(level) + spread, color=hues[line.row], alpha=0.12, linewidth=0)
            if by_value:
                drawn = True
                _band(axis, list(by_value.items()), hues[line.row], line.label)
        axis.set_xlabel(name, fontsize=9)
    return _finished(figure, axes) if drawn else None


def _panels(study: Study, taken: Sequence[str]) -> tuple[Any, list[tuple[Any, Panel]], dict[str, Any]]:
    """A figure, its axes with their panels, and the colour of each row."""
    found = panels(study, taken)
    columns = 2 if len(found) == 4 else min(len(found), 3)
    rows = -(-len(found) // columns)
    figure = new_figure()
    figure.set_size_inches(5.2 * columns, 0.9 + 3.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes, found):  # noqa: B905 (a last cell may stay empty)
        metric = LABELS.get(panel.metric, panel.metric)
        style(axis, f"{panel.value}: {metric}" if panel.value else metric)
    return figure, list(zip(axes, found)), dict(zip(study.rows, colors(len(study.rows)), strict=True))  # noqa: B905


def _points(axis: Any, points: Mapping[str, Sequence[tuple[float, float]]], color: Any, label: str) -> None:
    """Name -> (cost, metric) over seeds: one point each with error bars and its name, joined by a line."""
    columns = [[list(values) for values in zip(*pairs, strict=True)] for pairs in points.values()]
    x, dx = ([100 * of(costs) for costs, _ in columns] for of in (mean, deviation))
    y, dy = ([of(values) for _, values in columns] for of in (mean, deviation))
    axis.errorbar(
        x, y, dy, dx, fmt="o-", markersize=6, capsize=3, elinewidth=1.2, linewidth=1, color=color, label=label
    )
    for name, *place in zip(points, x, y, strict=True):
        axis.annotate(name, place, xytext=(5, 5), textcoords="offset points", fontsize=7.5, color=color)


def _band(axis: Any, points: Sequence[tuple[float, Sequence[float]]], color: Any, label: str) -> None:
    x = [point for point, _ in points]
    middle = [mean(values) for _, values in points]
    spread = [deviation(values) for _, values in points]
    axis.plot(x, middle, "o-", color=color, linewidth=1.5, markersize=3.5, label=label)
    low, high = ([m + sign * s for m, s in zip(middle, spread, strict=True)] for sign in (-1, 1))
    axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def _finished(figure: Any, panels: Sequence[tuple[Any, Any]]) -> Any:
    """With one legend for all panels."""
    entries: dict[str, Any] = {}
    for axis, _ in panels:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
        axis.margins(0.08)
    legend_below(figure, entries)
    return figure
