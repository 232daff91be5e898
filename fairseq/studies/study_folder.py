"""The folder of a study: what `fairseq-study` writes, and how others read it.

    OUT/study.yaml              what was asked, with everything filled in
    OUT/cells/CELL/             one run: an ordinary `save_dir` with train.log and history.jsonl, and cell.json
    OUT/cells/CELL/STEP/        the save_dir of each step instead, where a cell is a chain of several commands
    OUT/results.csv, table.md, *.png, index.html

    study = read_study(Path("OUT"))
    for cell in study.finished:
        print(cell.row, cell.dimensions, cell.seed, cell.metrics["accuracy"], cell.relative_bitops)

`cell.json` is replaced as a whole, so that it can be read while the study runs. A cell whose process was killed still
says `running`; the next `fairseq-study` goes on with it.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, DataError, reason
from fairseq.logging.history import FILE_NAME, read_history
from fairseq.studies.braces import fill
from fairseq.studies.files import replace_file
from fairseq.studies.typed_json import checked
from fairseq.studies.yaml_text import parse

STUDY_FILE, CELL_FILE, CELLS = "study.yaml", "cell.json", "cells"
WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"


@dataclass
class Step:
    """One command of a cell.

    Attributes:
        words: the command line behind the command's name, without `--config-dir` and `--config-name`.
        folder: where it writes, relative to the cell's folder: "." if it is the only step.
        finished: it need not run again.
    """

    name: str
    command: str
    words: list[str]
    config_dir: Optional[str] = None
    config_name: Optional[str] = None
    folder: str = "."
    finished: bool = False
    metrics: dict[str, Optional[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def line(self) -> str:
        """The command line, as one would type it; names of folders stay in braces, and its own folder is not in it."""
        import shlex

        where = [("--config-dir", self.config_dir), ("--config-name", self.config_name)]
        options = [word for flag, value in where if value is not None for word in (flag, value)]
        return shlex.join([self.command, *options, *(fill(word, {}) for word in self.words)])


@dataclass
class Cell:
    """One run of a study.

    Attributes:
        name: of its folder.
        dimensions: dimension -> name of its value here, such as {"task": "rte"}.
        metric: the metric of this cell that tables and plots show.
        after: name of the cell that this one starts from, if any.
        status: waiting, running, finished or failed.
        metrics: of the last update: all numbers of validation. With several steps, those of the last one that has any,
            and of each step as `STEP/NAME`. NaN and infinities are None.
        bitops: of training, absolute; `relative_bitops` over full precision; `relative_product_bitops` of the products
            alone, without the quantizers' own work.
        seconds: of all steps, also those of attempts that were killed later.
        peak_memory: bytes, the largest of all steps.
        last_line: of the log: why it failed, where it did.
        commit: of the code that ran it, with "+changes" where files differed from it; None outside a checkout.
        start, end: UTC, as `2026-11-30T20:04:48+00:00`.
        attempts: how often it was begun.
    """

    name: str
    row: str
    seed: Optional[int] = None
    dimensions: dict[str, str] = field(default_factory=dict)
    metric: str = "loss"
    after: Optional[str] = None
    cost: float = 1.0
    steps: list[Step] = field(default_factory=list)
    status: str = WAITING
    metrics: dict[str, Optional[float]] = field(default_factory=dict)
    num_updates: Optional[int] = None
    bitops: Optional[float] = None
    relative_bitops: Optional[float] = None
    relative_product_bitops: Optional[float] = None
    seconds: float = 0.0
    peak_memory: Optional[int] = None
    last_line: str = ""
    commit: Optional[str] = None
    host: str = ""
    pid: Optional[int] = None
    start: Optional[str] = None
    end: Optional[str] = None
    attempts: int = 0
    folder: Path = field(default=Path("."), compare=False)  # where it was read from; not in the file

    @property
    def overrides(self) -> list[str]:
        """The words of its last step."""
        return self.steps[-1].words if self.steps else []

    @property
    def value(self) -> Optional[float]:
        """The metric that tables and plots show; None while there is none."""
        return self.metrics.get(self.metric)

    @property
    def log_file(self) -> Path:
        """The log of the last step that has begun."""
        logs = [self.folder / step.folder / "train.log" for step in self.steps]
        return next((log for log in reversed(logs) if log.exists()), logs[-1] if logs else self.folder / "train.log")

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines of `log_file`."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - 400 * lines))
                return file.read().decode("utf-8", "replace").splitlines()[-lines:]
        except OSError:
            return []

    def history(self) -> list[dict[str, Any]]:
        """What it has reported, of the last step that trains (see `fairseq.logging.history`)."""
        folders = [self.folder / step.folder for step in reversed(self.steps)] or [self.folder]
        found = next((folder for folder in folders if (folder / FILE_NAME).is_file()), None)
        return [] if found is None else read_history(found)

    def write(self) -> None:
        """Replace its `cell.json`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        replace_file(self.folder / CELL_FILE, json.dumps(values, indent=1) + "\n")


@dataclass
class Study:
    """A study's folder.

    Attributes:
        config: study.yaml as it is in the file.
        cells: all of them, in the order of the configuration.
        missing: lines that say what could not be read, and why.
    """

    folder: Path
    config: dict[str, Any]
    cells: list[Cell]
    missing: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.status == FINISHED]

    @property
    def failed(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.status == FAILED]

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def dimensions(self) -> dict[str, list[str]]:
        """Dimension -> the names of its values."""
        names = dict.fromkeys(name for cell in self.cells for name in cell.dimensions)
        return {
            name: list(dict.fromkeys(cell.dimensions[name] for cell in self.cells if name in cell.dimensions))
            for name in names
        }

    def groups(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[Cell]]:
        """(row, dimensions) -> its cells, which differ in the seed."""
        found: dict[tuple[str, tuple[tuple[str, str], ...]], list[Cell]] = {}
        for cell in self.cells:
            found.setdefault((cell.row, tuple(cell.dimensions.items())), []).append(cell)
        return found


def read_study(folder: Path) -> Study:
    """The study in `folder`, also while it runs.

    Raises:
        DataError: there is none, or one of its files is damaged.
    """
    config = _config(folder)
    return Study(folder, config, _in_order(config, [read_cell(path.parent) for path in _cell_files(folder)]))


def read_what_is_left(folder: Path) -> Study:
    """The study in `folder` without what is damaged or gone, which `missing` names: for pages, not for running it.

    Raises:
        DataError: nothing of it can be read.
    """
    missing, cells, config = [], [], {}
    try:
        config = _config(folder)
    except DataError as error:
        missing.append(f"{error}; cells are in the order of their names")
    for path in _cell_files(folder):
        try:
            cell = read_cell(path.parent)
            if cell.name != path.parent.name:
                raise DataError(f"{path} is that of another cell, {cell.name}")
            cells.append(cell)
        except DataError as error:
            missing.append(str(error))
    if missing and not cells:
        raise DataError(missing[0])
    for name in config.get("cells") or ():
        if not (folder / CELLS / str(name) / CELL_FILE).exists():
            missing.append(f"{name}: there is no {CELL_FILE}; the study's command runs this cell again")
    return Study(folder, config, _in_order(config, cells), missing)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / STUDY_FILE
    try:
        config = parse(path.read_text(encoding="utf-8"))  # every scalar as it is written
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        raise DataError(f"no study at {folder}: cannot read {path}: {reason(error)}") from None
    names = config.get(CELLS, []) if isinstance(config, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"no study at {folder}: {path} is damaged")
    return config


def _in_order(config: dict[str, Any], cells: list[Cell]) -> list[Cell]:
    """Those that the configuration names; all where it names none."""
    if "cells" not in config:
        return cells
    place = {str(name): index for index, name in enumerate(config["cells"])}
    return sorted((cell for cell in cells if cell.name in place), key=lambda cell: place[cell.name])


def _cell_files(folder: Path) -> list[Path]:
    return sorted((folder / CELLS).glob(f"*/{CELL_FILE}"))


def read_cell(folder: Path) -> Cell:
    """The cell in `folder`.

    Raises:
        DataError: its file is missing or damaged.
    """
    path = folder / CELL_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        names = {each.name for each in fields(Cell)} - {"folder"}
        steps = [Step(**checked(Step, step)) for step in values.pop("steps", [])]
        known = {key: value for key, value in values.items() if key in names}
        return Cell(**checked(Cell, known), steps=steps, folder=folder)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {reason(error)}; remove it to run this cell again") from None
