"""The pictures of a study: `bitops.png`, `curves.png`, and one for each dimension of numbers.

    draw_study(read_study(Path("OUT")))

- `bitops.png`: the metric against BitOPs of training over full precision, mean and standard deviation over seeds.
- `curves.png`: the metric of each validation over updates, mean with a band of one standard deviation.
- `NAME.png`: the metric against the dimension NAME, one line a row. Rows without the dimension are level lines.

One panel for each value of the first dimension that holds no numbers, such as the task.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from fairseq.studies.plots import LABELS, colors, new_figure, save, style
from fairseq.studies.study_folder import FINISHED, Cell, Study

MAX_PANELS = 12


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


def numeric_dimensions(study: Study) -> list[str]:
    """Dimensions of at least three numbers."""
    return [
        name for name, values in study.dimensions.items() if len(values) > 2 and None not in map(_as_number, values)
    ]


def draw_bitops(study: Study) -> Optional[Any]:
    """Metric against BitOPs; None where no cell has both."""
    if not any(_cost(cell) is not None and cell.value is not None for cell in study.finished):
        return None
    figure, panels, hues = _panels(study, [])
    for axis, cells in panels:
        for place, (label, row, group) in enumerate(_lines(study, cells, [])):
            points = [(_cost(cell), cell.value) for cell in group if cell.value is not None and _cost(cell) is not None]
            if points:
                x, y = (list(values) for values in zip(*points, strict=True))
                marker = "osD^vPX*"[place // len(hues) % 8] if len(hues) < place else "o"
                axis.errorbar(100 * _mean(x), _mean(y), _deviation(y), 100 * _deviation(x), fmt=marker, markersize=6,
                              capsize=3, elinewidth=1.2, color=hues[row], label=label)  # fmt: skip
        axis.set_xlabel("BitOPs of training (% of full precision)", fontsize=9)
    return _finished(figure, panels)


def draw_curves(study: Study) -> Optional[Any]:
    """Metric of every validation over updates; None where no cell has any."""
    figure, panels, hues = _panels(study, [])
    drawn = False
    for axis, cells in panels:
        for label, row, group in _lines(study, cells, []):
            series = [_series(cell) for cell in group]
            updates = sorted({update for one in series for update in one})
            at = [(update, [one[update] for one in series if update in one]) for update in updates]
            if at:
                drawn = True
                _band(axis, at, hues[row], label)
        axis.set_xlabel("updates", fontsize=9)
    return _finished(figure, panels) if drawn else None


def draw_dimension(study: Study, name: str) -> Optional[Any]:
    """Metric against the numbers of the dimension `name`."""
    figure, panels, hues = _panels(study, [name])
    drawn = False
    for axis, cells in panels:
        for label, row, group in _lines(study, cells, [name]):
            by_value: dict[float, list[float]] = {}
            level: list[float] = []
            for cell in group:
                if cell.value is not None and cell.status == FINISHED:
                    number = _as_number(cell.dimensions.get(name, ""))
                    (level if number is None else by_value.setdefault(number, [])).append(cell.value)
            if level:
                axis.axhline(_mean(level), color=hues[row], linewidth=1.2, linestyle="--", label=label)
                spread = _deviation(level)
                axis.axhspan(_mean(level) - spread, _mean(level) + spread, color=hues[row], alpha=0.12, linewidth=0)
            if by_value:
                drawn = True
                _band(axis, sorted(by_value.items()), hues[row], label)
        axis.set_xlabel(name, fontsize=9)
    return _finished(figure, panels) if drawn else None


# -- panels and lines ------------------------------------------------------------------------------------------------


def _panel_dimension(study: Study, taken: Sequence[str]) -> Optional[str]:
    names = [name for name in study.dimensions if name not in taken and name not in numeric_dimensions(study)]
    return names[0] if names else None


def _panels(study: Study, taken: Sequence[str]) -> tuple[Any, list[tuple[Any, list[Cell]]], dict[str, Any]]:
    """A figure, its axes with their cells, and the colour of each row."""
    dimension = _panel_dimension(study, taken)
    values = study.dimensions[dimension][:MAX_PANELS] if dimension else [""]
    columns = min(len(values), 3)
    rows = -(-len(values) // columns)
    figure = new_figure()
    figure.set_size_inches(5.2 * columns, 0.9 + 3.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(values) :]:
        axis.set_axis_off()
    panels = []
    for axis, value in zip(axes, values):  # noqa: B905 (a last cell may stay empty)
        cells = [cell for cell in study.cells if not dimension or cell.dimensions.get(dimension, value) == value]
        metric = "/".join(dict.fromkeys(cell.metric for cell in cells))
        style(axis, f"{value}: {LABELS.get(metric, metric)}" if value else LABELS.get(metric, metric))
        panels.append((axis, cells))
    return figure, panels, dict(zip(study.rows, colors(len(study.rows)), strict=True))


def _lines(study: Study, cells: Sequence[Cell], taken: Sequence[str]) -> Iterator[tuple[str, str, list[Cell]]]:
    """(label, row, cells) of what is one line or point: cells that differ in the seed and in `taken` only."""
    panel = _panel_dimension(study, taken)
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        others = [value for name, value in cell.dimensions.items() if name not in (panel, *taken)]
        groups.setdefault((cell.row, *others), []).append(cell)
    for (row, *others), group in groups.items():
        yield " ".join([row, *others]), row, [cell for cell in group if cell.status == FINISHED]


def _band(axis: Any, points: Sequence[tuple[float, Sequence[float]]], color: Any, label: str) -> None:
    x = [point for point, _ in points]
    middle = [_mean(values) for _, values in points]
    spread = [_deviation(values) for _, values in points]
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
    most = 2 * len(panels) + 2
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower left",
        ncols=min(len(entries), most),
        fontsize=8.5,
        frameon=False,
    )
    return figure


def _series(cell: Cell) -> dict[int, float]:
    """Update -> metric of the validations of a cell."""
    subset, _, key = cell.metric.rpartition("/")
    found = {}
    for record in cell.history():
        value = record.get(key)
        if record["tag"] == (subset or "valid") and isinstance(value, (int, float)):
            found[record["num_updates"]] = float(value)
    return found


def _cost(cell: Cell) -> Optional[float]:
    cost = cell.relative_bitops
    return cost if cost is not None and math.isfinite(cost) else None


def _as_number(text: str) -> Optional[float]:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _mean(values: Sequence[float]) -> float:
    return statistics.mean(values)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
