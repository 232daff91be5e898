"""The cells of a study in detail: what each ran, with which settings, and the end of its log."""

from collections.abc import Sequence
from typing import Any

from fairseq.pages.document import facts
from fairseq.pages.markup import Html, join, tag
from fairseq.pages.numbers import count, duration, size
from fairseq.pages.plan_map import plan_map
from fairseq.pages.run_data import RunData, log_tail, read_run
from fairseq.pages.settings import shown
from fairseq.pages.tables import scrolling
from fairseq.studies.one_run import TRAINING
from fairseq.studies.study_folder import FAILED, FINISHED, WAITING, Cell, Study

LOG_LINES = 15
MOST_PLANS = 12  # rows whose first cell shows its plan

CellAndRun = tuple[Cell, RunData]


def read_cells(study: Study) -> list[CellAndRun]:
    """Each cell with what is in the folder of its last step."""
    found = []
    for cell in study.cells:
        folders = [cell.folder / step.folder for step in reversed(cell.steps)] or [cell.folder]
        folder = next((folder for folder in folders if (folder / "run.json").exists()), folders[0])
        found.append((cell, read_run(cell.name, folder, of_older_builds=False)))
    return found


def missing_of(cell: Cell, run: RunData) -> list[str]:
    """What a finished training should have left and has not, or is damaged; checkpoints may have been removed."""
    if cell.status != FINISHED or not any(step.command in TRAINING for step in cell.steps):
        return []
    return [line for line in run.missing if not line.startswith("checkpoints:")]


def cell_key(study: Study, cell: Cell) -> str:
    """The anchor of a cell."""
    return f"cell-{study.cells.index(cell) + 1}"


def details(study: Study, cells: Sequence[CellAndRun]) -> Html:
    """All cells, each closed; the settings that they share stand above them, once."""
    runs = [run for _, run in cells if run.config]
    shared = [key for key in (runs[0].usual if runs else {}) if len({shown(run.config.get(key)) for run in runs}) == 1]
    parts = []
    if shared:
        summary = tag("summary", f"Settings that all cells share ({len(shared)})")
        parts.append(tag("details", summary, _settings(runs[0], shared)))
    rows: set[str] = set()  # whose plan has been shown
    for cell, run in cells:
        own = [key for key in run.usual if key not in shared]
        parts.append(_cell(study, cell, run, own, show_plan=cell.row not in rows and len(rows) < MOST_PLANS))
        if run.plan:
            rows.add(cell.row)
    return join(*parts)


def _cell(study: Study, cell: Cell, run: RunData, own: Sequence[str], show_plan: bool) -> Html:
    summary = tag("summary", tag("strong", cell.name), " ", tag("span", cell.status, class_=f"status-{cell.status}"))
    parts: list[Any] = [facts(_facts(cell))]
    if cell.last_line and cell.status == FAILED:
        parts.append(tag("p", cell.last_line, class_="warn"))
    if own:
        parts.append(_settings(run, own))
    if run.plan and show_plan:
        parts.append(tag("details", tag("summary", "Precision plan"), plan_map(run.plan)))
    try:
        log = log_tail(cell.log_file, LOG_LINES)
    except OSError:
        log = []
    if log:
        parts.append(tag("pre", "\n".join(log), tabindex="0", aria_label=f"last lines of the log of {cell.name}"))
    elif cell.status != WAITING:
        parts.append(tag("p", "There is no log.", class_="note"))
    return tag("details", summary, parts, id=cell_key(study, cell), class_="cell")


def _facts(cell: Cell) -> list[tuple[str, Any]]:
    lines = [tag("code", step.line()) for step in cell.steps]
    return [
        ("command" if len(lines) == 1 else "commands", tag("span", [tag("div", line) for line in lines])),
        ("attempts", cell.attempts if cell.attempts > 1 else None),
        ("started", cell.start),
        ("ended", cell.end),
        ("updates", count(cell.num_updates)),
        ("time", duration(cell.seconds or None)),
        ("peak memory", size(cell.peak_memory)),
        ("commit", cell.commit),
        ("starts from", cell.after),
    ]


def _settings(run: RunData, keys: Sequence[str]) -> Html:
    rows = [
        tag("tr", tag("th", tag("code", key), scope="row"), tag("td", shown(run.config.get(key)), class_="changed"),
            tag("td", shown(run.usual.get(key)), class_="usual"))
        for key in keys
    ]  # fmt: skip
    head = tag("tr", [tag("th", name, scope="col") for name in ("setting", "value", "default")])
    inner = tag("table", tag("thead", head), tag("tbody", rows), class_="settings")
    return scrolling(inner, f"settings of {run.name}")
