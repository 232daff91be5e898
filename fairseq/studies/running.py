"""Run one cell of a study: its steps in this process, its state in `cell.json`.

    run_cell(cell, study_folder)        # cell.status is then finished or failed

A cell that was killed begins again with the step that it was in. A training step goes on from its last checkpoint, as
the command does; what another step has left in its folder is removed first.
"""

import datetime
import math
import os
import shutil
import socket
import time
import traceback
from pathlib import Path
from typing import Optional

from fairseq.errors import DataError, FairseqError, reason
from fairseq.logging.history import DONE, FILE_NAME, read_history
from fairseq.studies.braces import fill
from fairseq.studies.claims import FILE as CLAIM
from fairseq.studies.commands import run_command
from fairseq.studies.commit import commit
from fairseq.studies.one_run import LOG_FILE, TRAINING, RunResult, read_result, run_training
from fairseq.studies.peak_memory import PeakMemory
from fairseq.studies.study_config import HYDRA_COMMANDS
from fairseq.studies.study_folder import CELL_FILE, CELLS, FAILED, FINISHED, RUNNING, WAITING, Cell, Step, read_cell

QUIET = ("hydra/job_logging=none", "hydra/hydra_logging=none")  # our log lines stay as they are


def run_cell(cell: Cell, study: Path) -> None:
    """Run `cell`, which this process has claimed.

    Raises:
        SystemExit: a signal stopped it, after what it had trained was saved. It goes on when it is run again.
        OSError: its `cell.json` cannot be written.
    """
    cell.status, cell.last_line, cell.end = RUNNING, "", None
    cell.attempts += 1
    cell.host, cell.pid, cell.commit = socket.gethostname(), os.getpid(), commit()
    cell.start = now()
    cell.write()
    try:
        folders = {"cell": _absolute(cell.folder), **_before(cell, study)}
        for step in cell.steps:
            if not step.finished:
                _run_step(cell, step, folders)
            folders[step.name] = _absolute(cell.folder / step.folder)
        cell.status = FINISHED
    except SystemExit as exit:
        cell.status, cell.last_line = WAITING, f"stopped by a signal, exit code {exit.code}"
        cell.write()
        raise
    except Exception as error:
        cell.status, cell.last_line = FAILED, _said(cell, error)
    cell.end = now()
    cell.write()


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _absolute(folder: Path) -> str:
    return str(folder.absolute())


def _before(cell: Cell, study: Path) -> dict[str, str]:
    """The folder of the cell that this one starts from: of its last step."""
    if cell.after is None:
        return {}
    before = read_cell(study / CELLS / cell.after)
    if before.status != FINISHED:
        raise DataError(f"{before.name}, which it starts from, {before.status}")
    return {"after": _absolute(before.folder / before.steps[-1].folder)}


def _run_step(cell: Cell, step: Step, folders: dict[str, str]) -> None:
    folder = cell.folder / step.folder
    folder.mkdir(parents=True, exist_ok=True)
    hydra = step.command in HYDRA_COMMANDS
    words = [fill(word, {**folders, "here": _absolute(folder)}, hydra) for word in step.words]
    start = time.perf_counter()
    try:
        if step.command in TRAINING:
            result = _finished(folder) or run_training(
                words, config_dir=step.config_dir, config_name=step.config_name, folder=folder, command=step.command
            )
            _take(cell, result)
            step.metrics = _as_json(result.metrics)
        else:
            empty(folder)
            with PeakMemory() as peak:
                step.metrics = _as_json(run_command(step.command, [*_config(step), *words], folder / LOG_FILE))
            cell.peak_memory = _larger(cell.peak_memory, peak.bytes)
    finally:
        step.seconds += time.perf_counter() - start
        cell.seconds = sum(each.seconds for each in cell.steps)
    step.finished = True
    cell.metrics = _metrics(cell)
    cell.write()


def _config(step: Step) -> list[str]:
    """The options of a command under Hydra, which then leaves no folder of its own."""
    if step.command not in HYDRA_COMMANDS:
        return []
    given = [("--config-dir", step.config_dir), ("--config-name", step.config_name)]
    options = [word for flag, value in given if value is not None for word in (flag, value)]
    return [*options, "hydra.run.dir=.", "hydra.output_subdir=null", *QUIET]


def _finished(folder: Path) -> Optional[RunResult]:
    """The result of a training that had come to its end when the process was killed."""
    if not (folder / FILE_NAME).is_file():
        return None
    records = read_history(folder)
    if not records or records[-1]["tag"] != DONE:
        return None
    subsets = dict.fromkeys(record["tag"] for record in records)
    others = ("train", "train_inner", "bits", DONE)
    return read_result(folder, [tag for tag in subsets if tag not in others] or ("valid",))


def _take(cell: Cell, result: RunResult) -> None:
    cell.num_updates = result.num_updates
    cell.bitops, cell.relative_bitops = result.bitops, result.relative_bitops
    cell.relative_product_bitops = result.relative_product_bitops
    cell.peak_memory = _larger(cell.peak_memory, result.peak_memory)


def _larger(one: Optional[int], other: Optional[int]) -> Optional[int]:
    known = [value for value in (one, other) if value is not None]
    return max(known) if known else None


def _as_json(metrics: dict[str, float]) -> dict[str, Optional[float]]:
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


def _metrics(cell: Cell) -> dict[str, Optional[float]]:
    """Of the last step that has any; with several steps those of each, too."""
    with_metrics = [step for step in cell.steps if step.metrics]
    found = dict(with_metrics[-1].metrics) if with_metrics else {}
    if len(cell.steps) > 1:
        found |= {f"{step.name}/{key}": value for step in with_metrics for key, value in step.metrics.items()}
    return found


def _said(cell: Cell, error: Exception) -> str:
    """The line that explains a failure; all of it is added to the log."""
    if isinstance(error, FairseqError):
        line = " ".join(str(error).split())
    elif isinstance(error, OSError) and error.filename is not None:
        line = f"{error.filename}: {error.strerror}"
    else:
        line = f"{type(error).__name__}: {reason(error)}"
    expected = isinstance(error, (FairseqError, OSError))
    text = "" if expected else "".join(traceback.format_exception(error))
    try:
        with cell.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{text}error: {line}\n")
    except OSError:
        pass  # a full disk; the line is in cell.json
    return line


def empty(folder: Path) -> None:
    """Remove what an earlier attempt has left."""
    for path in folder.iterdir():
        if path.name in (CELL_FILE, CLAIM, LOG_FILE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
