"""Checkpoints of finished cells: all are kept unless the study's `keep_checkpoints` says last, best or none.

Those that a cell still starts from stay until that one has finished.
"""

from collections.abc import Sequence

from fairseq.studies.study_folder import FINISHED, Cell, read_cell

_KEPT = {"last": ("checkpoint_last.pt",), "best": ("checkpoint_best.pt",), "none": ()}


def keep(cells: Sequence[Cell], cell: Cell, which: str) -> None:
    """Remove what is not to be kept of `cell`, which has just run, and of the one that it started from.

    Args:
        cells: of the study.
        which: all, last, best or none.
    """
    if which == "all":
        return
    for each in (cell, *(other for other in cells if other.name == cell.after)):
        following = [other for other in cells if other.after == each.name]
        states = [read_cell(other.folder).status for other in (each, *following)]
        if all(status == FINISHED for status in states):
            for path in each.folder.rglob("checkpoint*.pt"):
                if path.name not in _KEPT[which]:
                    path.unlink(missing_ok=True)
