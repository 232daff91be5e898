"""A job of a study: one process that runs cells until none is left for it.

    work(Path("OUT"), since="2026-11-30T20:00:00+00:00")

Cells that look cheap come first: what cells of the same row have taken, else their updates times `cost`. A cell that
has failed since the study was started is not tried again; one that failed before is.
"""

import gc
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from fairseq.errors import reason
from fairseq.studies.claims import claim
from fairseq.studies.estimates import Estimates
from fairseq.studies.keeping import keep
from fairseq.studies.running import run_cell
from fairseq.studies.study_folder import FAILED, FINISHED, WAITING, Cell, read_cell, read_study

POLL = 0.5  # seconds


def work(study: Path, since: str, only: Optional[Sequence[str]] = None) -> None:
    """Run cells of the study in this process.

    Args:
        since: when the study was started, as `running.now` says it.
        only: names of the cells to choose from.

    Raises:
        SystemExit: a signal stopped the cell that was running.
    """
    keep_checkpoints = str(read_study(study).config.get("keep_checkpoints", "all"))
    try:
        _work(study, since, only, keep_checkpoints)
    finally:
        gc.unfreeze()


def _work(study: Path, since: str, only: Optional[Sequence[str]], keep_checkpoints: str) -> None:
    broken: set[str] = set()  # cells whose state could not be written
    while True:
        cells = read_study(study).cells
        open_cells = [cell for cell in cells if is_open(cell, since) and cell.name not in broken]
        if only is not None:
            open_cells = [cell for cell in open_cells if cell.name in only]
        ran = False
        for cell in Estimates(cells).cheap_first(ready(open_cells, cells, since)):
            with claim(cell.folder) as mine:
                if not mine:
                    continue
                cell = read_cell(cell.folder)  # another process may have run it meanwhile
                if not is_open(cell, since):
                    continue
                try:
                    run_cell(cell, study)
                    keep(cells, cell, keep_checkpoints)
                except OSError as error:
                    broken.add(cell.name)
                    print(f"{cell.name}: cannot write {cell.folder}: {reason(error)}", flush=True)
            ran = True
            break
        if ran:
            gc.freeze()  # what cells have imported stays: the garbage collector need not look at it again
            continue
        if not any(_blocked(cell, cells, since) for cell in open_cells):
            return
        time.sleep(POLL)  # for the cell that another process runs


def is_open(cell: Cell, since: str) -> bool:
    """Whether it is still to be run, by whomever."""
    return cell.status != FINISHED and not (cell.status == FAILED and (cell.end or "") >= since)


def ready(open_cells: Iterable[Cell], cells: Sequence[Cell], since: str) -> list[Cell]:
    """Those that need not wait for another one; one that starts after a failed one fails at once."""
    return [cell for cell in open_cells if not _blocked(cell, cells, since)]


def _blocked(cell: Cell, cells: Sequence[Cell], since: str) -> bool:
    before = next((each for each in cells if each.name == cell.after), None)
    return before is not None and is_open(before, since)


__all__ = ["WAITING", "is_open", "ready", "work"]
