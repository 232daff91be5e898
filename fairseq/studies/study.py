"""A study from beginning to end: what `fairseq-study` does.

    failed = run_study(read_config(Path("study.yaml")), Path("OUT"), jobs=2)

The folder is laid out, jobs run its cells, results are written after each of them. Called again, it goes on: finished
cells stay, failed ones are tried again, and cells that other processes run are waited for.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, DataError, FairseqError, reason
from fairseq.pages.study_page import write_study_page
from fairseq.studies.braces import fill, named
from fairseq.studies.claims import FILE as CLAIM
from fairseq.studies.claims import claim
from fairseq.studies.commands import module_of
from fairseq.studies.files import replace_file
from fairseq.studies.grid import expand
from fairseq.studies.launching import launch
from fairseq.studies.one_run import compose_run
from fairseq.studies.progress import Progress
from fairseq.studies.results import write_results
from fairseq.studies.running import now
from fairseq.studies.study_config import StudyConfig, as_yaml
from fairseq.studies.study_folder import (
    CELLS,
    FAILED,
    FINISHED,
    RUNNING,
    STUDY_FILE,
    Cell,
    Study,
    read_cell,
    read_study,
)
from fairseq.studies.worker import is_open

POLL = 0.5  # seconds
CHECKED = "fairseq-hydra-train"


def run_study(
    config: StudyConfig,
    out: Path,
    *,
    jobs: int = 1,
    launcher: str = "joblib",
    say: Callable[[str], Any] = print,
) -> list[Cell]:
    """Run every cell of the study that has not finished; returns those that failed.

    Args:
        out: the study's folder; made if missing.
        jobs: processes.
        launcher: see `fairseq.studies.launching`.
        say: gets lines for a person.

    Raises:
        ConfigError: a word of a cell cannot be used, or `out` holds a study with other settings.
        DataError: `out` cannot be written.
    """
    cells = expand(config)
    check(cells)
    since = now()
    prepare(config, cells, out)
    deaths: dict[str, int] = {}  # of processes that ran a cell
    with Progress(out, jobs, say) as progress:
        while left := _left(out, since):
            free = [cell for cell in left if _is_free(cell)]
            if not free:
                progress.wait_for(left)
                time.sleep(POLL)
                continue
            launch(out, min(jobs, len(free)), launcher, since, config.launcher)
            now_free = [cell for cell in _left(out, since) if _is_free(cell)]
            for cell in now_free:
                if cell.status == RUNNING:
                    _count_death(cell, deaths)
            if {_state(cell) for cell in now_free} == {_state(cell) for cell in free}:
                raise DataError(f"no job could run {free[0].name}; see {out / 'jobs'} and {free[0].folder}")
    study = read_study(out)
    write_results(study, plots=True)
    write_study_page(study)
    return study.failed


def _left(out: Path, since: str) -> list[Cell]:
    return [cell for cell in read_study(out).cells if is_open(cell, since)]


def _state(cell: Cell) -> tuple[str, str, int, Optional[str]]:
    return cell.name, cell.status, cell.attempts, cell.end


def _count_death(cell: Cell, deaths: dict[str, int]) -> None:
    """The second one is the cell's fault: memory, usually."""
    deaths[cell.name] = deaths.get(cell.name, 0) + 1
    if deaths[cell.name] < 2:
        return
    with claim(cell.folder) as mine:
        if mine:
            cell.status, cell.end = FAILED, now()
            cell.last_line = "its process was killed twice, perhaps because memory ran out"
            cell.write()


def _is_free(cell: Cell) -> bool:
    with claim(cell.folder) as mine:
        return mine


# -- checking and laying out -----------------------------------------------------------------------------------------


def check(cells: Sequence[Cell]) -> None:
    """Compose each row's and each value's config once, so that a misspelt word costs no run.

    Raises:
        ConfigError: names the cell.
    """
    seen: set[Any] = set()
    for cell in cells:
        new = {("row", cell.row), *cell.dimensions.items()} - seen
        if not new:
            continue
        seen |= new
        for step in cell.steps:
            try:
                module_of(step.command)
                if step.command == CHECKED:
                    _compose(step)
            except FairseqError as error:
                raise ConfigError(f"{cell.name}: {error}") from None


def _compose(step: Any) -> None:
    folders = dict.fromkeys(named(step.words), "FOLDER")
    compose_run([fill(word, folders, hydra=True) for word in step.words], step.config_dir, step.config_name)


def prepare(config: StudyConfig, cells: Sequence[Cell], out: Path) -> None:
    """Write `study.yaml` and a `cell.json` for each new cell; finished ones must have the same command lines.

    Raises:
        ConfigError: a finished cell has other settings.
        DataError: `out` cannot be written.
    """
    with claim(out, wait=True):
        try:
            for cell in cells:
                _lay_out(cell, out)
            replace_file(out / STUDY_FILE, as_yaml(config, [cell.name for cell in cells]))
        except OSError as error:
            raise DataError(f"cannot write {out}: {reason(error)}; choose another --out") from None


def _lay_out(cell: Cell, out: Path) -> None:
    cell.folder = out / CELLS / cell.name
    if (cell.folder / "cell.json").exists():
        known = read_cell(cell.folder)
        if _asked(known) == _asked(cell):
            if (known.metric, known.cost) != (cell.metric, cell.cost):
                known.metric, known.cost = cell.metric, cell.cost
                with claim(cell.folder) as mine:
                    if mine:
                        known.write()
            return
        if known.status == FINISHED:
            raise ConfigError(f"{cell.folder} has finished with other settings: {_difference(known, cell)}; "
                              "choose another --out, or remove that folder to run it again")  # fmt: skip
        with claim(cell.folder) as mine:
            if not mine:
                raise ConfigError(f"{cell.folder} is running with other settings; stop that process first")
            for path in cell.folder.iterdir():  # what an unfinished run with other settings has left
                if path.name != CLAIM:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    cell.write()


def _asked(cell: Cell) -> list[Any]:
    return [cell.after, [(s.name, s.command, s.config_dir, s.config_name, s.words) for s in cell.steps]]


def _difference(known: Cell, cell: Cell) -> str:
    for before, after in zip(known.steps, cell.steps, strict=False):
        for word in (*after.words, *before.words):
            if (word in before.words) != (word in after.words):
                return f"{word} is {'new' if word in after.words else 'gone'}"
    return "its commands, configs or what it starts from"


__all__ = ["Study", "check", "prepare", "run_study"]
