"""How long the cells of a study will take, from those that have finished.

    estimates = Estimates(study.cells)
    estimates.cheap_first(waiting)
    estimates.seconds_left(waiting, jobs=2)

A cell takes what finished cells of its row and dimensions took (they differ in the seed), else those of its row;
else its `cost` times its updates, at the rate of all finished ones.
"""

import re
import statistics
from collections.abc import Iterable
from typing import Optional

from fairseq.studies.study_folder import FINISHED, Cell

_UPDATES = re.compile(r"(?:\+\+?)?optimization\.max_update=(\d+)")


class Estimates:
    """What is known from `cells`."""

    def __init__(self, cells: Iterable[Cell]):
        self._same: dict[tuple, list[float]] = {}
        self._row: dict[str, list[float]] = {}
        rates = []
        for cell in cells:
            if cell.status == FINISHED and cell.seconds > 0:
                self._same.setdefault(_key(cell), []).append(cell.seconds)
                self._row.setdefault(cell.row, []).append(cell.seconds)
                rates.append(cell.seconds / units(cell))
        self._rate = statistics.median(rates) if rates else None

    def seconds(self, cell: Cell) -> Optional[float]:
        """Of one cell; None before any has finished."""
        for known in (self._same.get(_key(cell)), self._row.get(cell.row)):
            if known:
                return statistics.median(known)
        return None if self._rate is None else self._rate * units(cell)

    def cheap_first(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells to be run first; equal ones in the given order."""
        return sorted(cells, key=lambda cell: (round(self._order(cell), 1), cell.seed or 0))

    def _order(self, cell: Cell) -> float:
        seconds = self.seconds(cell)
        return units(cell) if seconds is None else seconds

    def seconds_left(self, cells: Iterable[Cell], jobs: int) -> Optional[float]:
        """For all of them, by so many processes; None before any cell has finished."""
        each = [self.seconds(cell) for cell in cells]
        known = [seconds for seconds in each if seconds is not None]
        return None if len(known) < len(each) else sum(known) / max(jobs, 1)


def units(cell: Cell) -> float:
    """A guess at the work: updates of all its steps times `cost`."""
    updates = 0.0
    for step in cell.steps:
        found = [int(match[1]) for word in step.words if (match := _UPDATES.fullmatch(word))]
        flags = [
            int(b) for a, b in zip(step.words, step.words[1:], strict=False) if a == "--max-update" and b.isdigit()
        ]
        updates += max([1, *found, *flags])
    return cell.cost * updates


def _key(cell: Cell) -> tuple:
    return (cell.row, *cell.dimensions.items())


def duration(seconds: float) -> str:
    """For a person.

    >>> duration(59), duration(754), duration(7300)
    ('59 s', '12 min 34 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
