"""What the pictures of a study show, as numbers: its panels, its lines, what a cell reached when and at what cost.

for panel in panels(study):                          # one for each task, or whatever the first dimension names
    for line in lines(study, panel.cells, taken=[]):
        print(line.label, mean(line.values()))
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.studies.study_folder import FINISHED, Cell, Study

MAX_PANELS = 12


@dataclass(frozen=True)
class Panel:
    """`value` of the dimension that divides the study, "" if none does; `metric` of its cells."""

    value: str
    metric: str
    cells: list[Cell]


@dataclass(frozen=True)
class Line:
    """Finished cells that are one line or one point: they differ in the seed and in what is drawn along."""

    label: str
    row: str
    cells: list[Cell]

    def values(self) -> list[float]:
        return [cell.value for cell in self.cells if cell.value is not None]

    def costs_and_values(self) -> list[tuple[float, float]]:
        """Of the cells that have both."""
        pairs = [(cost(cell), cell.value) for cell in self.cells]
        return [(spent, value) for spent, value in pairs if spent is not None and value is not None]

    def points(self, dimensions: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
        """Those by the values of `dimensions`, "4" or "4, 0.5"."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            name = ", ".join(cell.dimensions[each] for each in dimensions if each in cell.dimensions)
            found.setdefault(name, []).append(cell)
        points = {name: Line(self.label, self.row, cells).costs_and_values() for name, cells in found.items()}
        return {name: pairs for name, pairs in points.items() if pairs}


def numeric_dimensions(study: Study) -> list[str]:
    """Dimensions of at least three numbers."""
    return [name for name, values in study.dimensions.items() if len(values) > 2 and None not in map(as_number, values)]


def panel_dimension(study: Study, taken: Sequence[str]) -> Optional[str]:
    """The first dimension that holds no numbers and is not drawn along."""
    numeric = numeric_dimensions(study)
    return next((name for name in study.dimensions if name not in taken and name not in numeric), None)


def panels(study: Study, taken: Sequence[str] = ()) -> list[Panel]:
    """One for each value of `panel_dimension`; cells without the dimension are in all of them."""
    dimension = panel_dimension(study, taken)
    found = []
    for value in study.dimensions[dimension][:MAX_PANELS] if dimension else [""]:
        cells = [cell for cell in study.cells if not dimension or cell.dimensions.get(dimension, value) == value]
        found.append(Panel(value, "/".join(dict.fromkeys(cell.metric for cell in cells)), cells))
    return found


def lines(study: Study, cells: Sequence[Cell], taken: Sequence[str] = ()) -> Iterator[Line]:
    """The lines of a panel's cells."""
    panel = panel_dimension(study, taken)
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        others = [value for name, value in cell.dimensions.items() if name not in (panel, *taken)]
        groups.setdefault((cell.row, *others), []).append(cell)
    for (row, *others), group in groups.items():
        yield Line(" ".join([row, *others]), row, [cell for cell in group if cell.status == FINISHED])


def curve(cells: Sequence[Cell]) -> list[tuple[float, list[float]]]:
    """(update, metrics of the cells that were validated there), by update."""
    series = [validations(cell) for cell in cells]
    updates = sorted({update for one in series for update in one})
    return [(update, [one[update] for one in series if update in one]) for update in updates]


def validations(cell: Cell) -> dict[int, float]:
    """Update -> metric."""
    subset, _, key = cell.metric.rpartition("/")
    found = {}
    for record in cell.history():
        value = as_number(record.get(key))
        if record["tag"] == (subset or "valid") and value is not None:
            found[record["num_updates"]] = value
    return found


def along(line: Line, dimension: str) -> tuple[dict[float, list[float]], list[float]]:
    """Metrics by the number that `dimension` has, and those of cells that lack the dimension."""
    by_value: dict[float, list[float]] = {}
    level: list[float] = []
    for cell in line.cells:
        if cell.value is not None:
            number = as_number(cell.dimensions.get(dimension, ""))
            (level if number is None else by_value.setdefault(number, [])).append(cell.value)
    return dict(sorted(by_value.items())), level


def cost(cell: Cell) -> Optional[float]:
    """BitOPs of training over those of full precision; None if unknown."""
    known = cell.relative_bitops
    return known if known is not None and math.isfinite(known) else None


def as_number(value: Any) -> Optional[float]:
    """A finite number, also from its text, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def mean(values: Sequence[float]) -> float:
    return statistics.mean(values)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample; 0 of one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
