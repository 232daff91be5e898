"""The page of a study: `OUT/index.html`, also while the study runs.

write_study_page(read_study(Path("OUT")))
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq.pages.cells import CellAndRun, cell_key, details, missing_of, read_cells
from fairseq.pages.charts import LINE, MARKED, POINTS, Series, chart, legend
from fairseq.pages.document import Section, facts, notes, page
from fairseq.pages.files import write_page
from fairseq.pages.markup import Html, join, tag
from fairseq.pages.numbers import count, duration, mean_and_deviation, number, percent, size
from fairseq.pages.run_page import series_of
from fairseq.pages.tables import Cell as Number
from fairseq.pages.tables import table
from fairseq.studies.plots import LABELS
from fairseq.studies.records import Run
from fairseq.studies.study_folder import FINISHED, Cell, Study
from fairseq.studies.study_lines import Line, Panel, along, curve, deviation, lines, mean, numeric_dimensions, panels

INDEX = "index.html"
MOST_METRICS = 8  # columns of the table of cells
MOST_MISSING = 50  # lines
NOT_SHOWN = ("wps", "wpb", "bsz", "ups", "train_wall", "wall", "num_updates")


def write_study_page(study: Study, out: Optional[Path] = None) -> Path:
    """Write the page of `study`, by default `index.html` in its folder; returns its path.

    Raises:
        DataError: it cannot be written.
    """
    path = study.folder / INDEX if out is None else out
    write_page(path, study_page(study))
    return path


def study_page(study: Study, title: str = "", live: bool = False) -> str:
    """The text of the page."""
    cells = read_cells(study)
    title = title or str(study.config.get("title") or study.folder.resolve().name)
    sections = [
        Section("overview", "Overview", join(_failed(study), _missing(study, cells), facts(_facts(study)))),
        Section("results", "Results", means_table(study)),
        Section("plots", "Plots", plots_section(study)),
        Section("cells", "Cells", cells_table(study)),
        Section("details", "Cells in detail", details(study, cells)),
    ]
    counts = f"{len(study.finished)} of {len(study.cells)} cells have finished"
    return page(title, sections, subtitle=counts, live=live)


# -- overview ----------------------------------------------------------------------------------------------------------


def _failed(study: Study) -> Optional[Html]:
    if not study.failed:
        return None
    lines = [join(_link(study, cell), f": {cell.last_line or 'no line was kept'}") for cell in study.failed]
    return notes(lines, "1 cell failed" if len(lines) == 1 else f"{len(lines)} cells failed")


def _missing(study: Study, cells: Sequence[CellAndRun]) -> Optional[Html]:
    """What could not be read."""
    lines: list[Any] = list(study.missing)
    lines += [join(_link(study, cell), f": {line}") for cell, run in cells for line in missing_of(cell, run)]
    return notes(lines[:MOST_MISSING], f"What is missing ({len(lines)})") if lines else None


def _facts(study: Study) -> list[tuple[str, Any]]:
    states = {
        state: sum(cell.status == state for cell in study.cells) for state in _unique(c.status for c in study.cells)
    }
    commits = _unique(cell.commit for cell in study.cells if cell.commit)
    return [
        ("cells", ", ".join(f"{number} {state}" for state, number in states.items())),
        ("rows", ", ".join(study.rows)),
        *((name, ", ".join(values)) for name, values in study.dimensions.items()),
        ("seeds", ", ".join(str(seed) for seed in _unique(cell.seed for cell in study.cells) if seed is not None)),
        ("metric", ", ".join(_unique(cell.metric for cell in study.cells))),
        ("command", tag("code", study.config.get("command", ""))),
        ("time of all cells", duration(sum(cell.seconds for cell in study.cells))),
        ("commits", ", ".join(commits)),
        ("machines", ", ".join(_unique(cell.host for cell in study.cells if cell.host))),
        ("folder", tag("code", study.folder.resolve())),
    ]


# -- tables ------------------------------------------------------------------------------------------------------------


def means_table(study: Study) -> Html:
    """Mean and standard deviation over seeds, one line for each row and value of the dimensions."""
    control = study.config.get("control")
    means = {key: mean_and_deviation(_values(cells)) for key, cells in study.groups().items()}
    rows = []
    for (row, dimensions), cells in study.groups().items():
        at = dict(dimensions)
        middle, spread = means[row, dimensions]
        usual = means.get((str(control), dimensions), (None, None))[0]
        difference = middle - usual if middle is not None and usual is not None and row != control else None
        finished = [cell for cell in cells if cell.status == FINISHED]
        rows.append([
            row, *(at.get(name, "-") for name in study.dimensions), cells[0].metric, Number(middle), Number(spread),
            *([Number(difference, _signed)] if control else []),
            Number(len(_values(cells))), Number(len(cells)),
            Number(_mean(cell.relative_bitops for cell in finished), percent),
            Number(_mean(cell.relative_product_bitops for cell in finished), percent),
            Number(_mean(cell.seconds for cell in finished), duration),
            Number(_mean(cell.peak_memory for cell in finished), size),
        ])  # fmt: skip
    headings = ["row", *study.dimensions, "metric", "mean", "deviation"]
    headings += [f"to {control}"] if control else []
    headings += ["finished", "cells", "BitOPs of fp32", "of products", "time", "peak memory"]
    return table(
        headings, rows, "mean and standard deviation over seeds, at the last update; a click on a heading sorts"
    )


def cells_table(study: Study) -> Html:
    """Every cell with its numbers."""
    shown = _unique(cell.metric for cell in study.cells)
    others = _unique(name for cell in study.cells for name in cell.metrics if name not in (*shown, *NOT_SHOWN))
    names = [*shown, *(name for name in others if not name.startswith("best_"))][:MOST_METRICS]
    rows = [
        [
            _link(study, cell), cell.row, *(cell.dimensions.get(name, "-") for name in study.dimensions),
            Number(cell.seed, str) if cell.seed is not None else "-",
            tag("span", cell.status, class_=f"status-{cell.status}"),
            *(Number(cell.metrics.get(name)) for name in names),
            Number(cell.num_updates, count), Number(cell.relative_bitops, percent),
            Number(cell.seconds or None, duration), Number(cell.peak_memory, size),
        ]
        for cell in study.cells
    ]  # fmt: skip
    headings = [
        "cell",
        "row",
        *study.dimensions,
        "seed",
        "status",
        *names,
        "updates",
        "BitOPs of fp32",
        "time",
        "peak memory",
    ]
    return table(headings, rows, "cells; a click on a heading sorts")


def _link(study: Study, cell: Cell) -> Html:
    return tag("a", cell.name, href=f"#{cell_key(study, cell)}")


# -- plots -------------------------------------------------------------------------------------------------------------


def plots_section(study: Study) -> Html:
    """Metric against BitOPs and along dimensions, curves with bands, bits over updates; one colour a row."""
    charts = [
        chart(title, series, x_label=x_label, whole_numbers=title == "bits")
        for title, x_label, series in _charts(study)
        if any(one.points for one in series)
    ]
    if not charts:
        return tag("p", "No cell has reported anything yet.", class_="note")
    how = tag("span", "bars and bands: one standard deviation over seeds; arrow keys move along a chart", class_="note")
    return join(legend(study.rows, how), tag("div", charts, class_="charts"))


def _charts(study: Study) -> Iterator[tuple[str, str, list[Series]]]:
    """Title, what x is, and the curves."""
    for panel in panels(study):
        name, drawn = _title(panel), list(lines(study, panel.cells))
        yield f"{name} and BitOPs", "BitOPs of training, % of full precision", _by_bitops(study, drawn)
        yield f"{name} in training", "updates", [_band(study, one, curve(one.cells)) for one in drawn]
    for dimension in numeric_dimensions(study):
        for panel in panels(study, [dimension]):
            drawn = list(lines(study, panel.cells, [dimension]))
            yield f"{_title(panel)} by {dimension}", dimension, _by_dimension(study, drawn, dimension)
    yield "bits", "updates", _bits(study)


def _title(panel: Panel) -> str:
    metric = LABELS.get(panel.metric, panel.metric)
    return f"{panel.value}: {metric}" if panel.value else metric


def _by_bitops(study: Study, drawn: Sequence[Line]) -> list[Series]:
    series = []
    for line in drawn:
        pairs = line.costs_and_values()
        if pairs:
            costs, values = (list(each) for each in zip(*pairs, strict=True))
            name = f"{line.label}, {len(values)} seeds" if len(values) > 1 else line.label
            point = (100 * mean(costs), mean(values))
            spread = [deviation(values) or None]
            series.append(Series(line.label, [point], _color(study, line), POINTS, spread=spread, names=[name]))
    return series


def _by_dimension(study: Study, drawn: Sequence[Line], dimension: str) -> list[Series]:
    found = [(line, *along(line, dimension)) for line in drawn]
    places = sorted({place for _, by_value, _ in found for place in by_value})
    series = []
    for line, by_value, level in found:
        if by_value:
            series.append(_band(study, line, list(by_value.items())))
        elif level and places:  # a row without the dimension
            series.append(_band(study, line, [(place, level) for place in (places[0], places[-1])], LINE))
    return series


def _band(study: Study, line: Line, points: Sequence[tuple[float, Sequence[float]]], kind: str = MARKED) -> Series:
    spreads = [(place, mean(values), deviation(values)) for place, values in points]
    band = [(place, middle - spread, middle + spread) for place, middle, spread in spreads]
    if not any(spread for _, _, spread in spreads):
        band = []
    return Series(line.label, [(x, y) for x, y, _ in spreads], _color(study, line), kind, band)


def _bits(study: Study) -> list[Series]:
    """Of the first cell of each row that has reported some: seeds do not change them."""
    series = []
    for place, row in enumerate(study.rows):
        for cell in (cell for cell in study.cells if cell.row == row):
            found = [one for one in series_of(Run(row, cell.history()), "num_bits", place) if one.points]
            if found:
                series += found
                break
    return series


def _color(study: Study, line: Line) -> int:
    return study.rows.index(line.row)


# -- numbers -----------------------------------------------------------------------------------------------------------


def _values(cells: Sequence[Cell]) -> list[float]:
    values = [number(cell.value) for cell in cells if cell.status == FINISHED]
    return [value for value in values if value is not None]


def _mean(values: Any) -> Optional[float]:
    known = [found for value in values if (found := number(value)) is not None]
    return mean(known) if known else None


def _signed(value: Any) -> str:
    return "-" if value is None else f"{value:+.4g}"


def _unique(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))
