"""What a run's folder holds, for its page: everything that can be read, and a line for everything that cannot.

    runs = [run for path in paths for run in find_run_folders(path)]
    run = read_run(Path("int8/checkpoints"))
    run.missing            # ['run.json: not there; ...']

The folder is `checkpoint.save_dir`. Nothing in it is trusted: damaged files are named in `missing`, and the rest of the
page is made without them.
"""

import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import CheckpointError, DataError, FairseqError, reason
from fairseq.logging.history import DONE, FILE_NAME, read_history
from fairseq.pages.plan_map import bounds
from fairseq.quantization.versions import read_plan
from fairseq.studies.error_plots import FILE_NAME as ERRORS
from fairseq.studies.error_plots import read_errors
from fairseq.studies.records import Run

RECORD, LOG, PLAN = "run.json", "train.log", "quantization_plan.json"
KNOWN = (FILE_NAME, RECORD, LOG, PLAN, ERRORS)
LOG_LINES, LINE_LENGTH = 40, 400
LARGEST = 1 << 26  # bytes of a file of text that is read whole


@dataclass
class CheckpointFile:
    """`updated` in seconds since 1970."""

    name: str
    size: int
    updated: float


@dataclass
class RunData:
    """A run.

    Attributes:
        run: name and reported numbers; without records where there is no history.
        record: the contents of `run.json`, {} if there is none.
        config: dotted key -> value of every setting.
        usual: dotted key -> default, of the settings that differ from it.
        plan: the rows of the precision plan; [] of a run in full precision.
        missing: lines that say what could not be read, and why.
        open_checkpoints: settings may be taken from one.
    """

    run: Run
    folder: Path
    record: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    usual: dict[str, Any] = field(default_factory=dict)
    plan: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    checkpoints: list[CheckpointFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    open_checkpoints: bool = True

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def is_quantized(self) -> bool:
        return any(bounds(row)[1] is not None for row in self.plan)

    @property
    def end(self) -> dict[str, Any]:
        """What the last line of a finished run says."""
        return next((record for record in reversed(self.run.records) if record["tag"] == DONE), {})

    def state(self) -> str:
        """`done`, `running`, `stopped`, `failed`, `killed` (it says it runs, and its process is gone) or `unknown`."""
        state = self.record.get("state")
        if state == "running" and not _is_alive(self.record.get("process")):
            return "killed"
        if state in ("done", "running", "stopped", "failed"):
            return str(state)
        return "done" if self.end else "unknown"


def find_run_folders(path: Path) -> list[tuple[str, Path]]:
    """(name, folder) of the runs in a folder, which may be one, or hold several; those that a later one has replaced
    are left out.

    Raises:
        DataError: it is missing, no folder, or holds nothing of a run.
    """
    if not path.is_dir():
        what = "is a file; give the folder that it is in" if path.exists() else "is not there; give a run's save_dir"
        raise DataError(f"{path} {what}")
    folders: dict[Path, None] = {}
    if any((path / name).exists() for name in KNOWN) or list(path.glob("checkpoint*.pt")):
        folders[path] = None
    else:
        for file in sorted(_files_below(path)):
            folders[file.parent] = None
    if not folders:
        raise DataError(f"{path} holds nothing of a run ({', '.join(KNOWN)}, checkpoints); give a run's save_dir")
    return [(_name(path, folder), folder) for folder in folders]


def _files_below(path: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not re.fullmatch(r"previous-\d+", name))
        if any(name in files for name in (FILE_NAME, RECORD)):
            yield Path(folder, FILE_NAME)


def _name(path: Path, folder: Path) -> str:
    """The path's own name and the folder's place below it, without `checkpoints`."""
    parts = [path.resolve().name, *folder.relative_to(path).parts]
    if parts[-1] == "checkpoints":
        parts = parts[:-1] or [path.resolve().parent.name]
    return "/".join(parts)


def read_run(name: str, folder: Path, of_older_builds: bool = True) -> RunData:
    """Read what is there; never raises for what is in the folder.

    Args:
        of_older_builds: take the settings from a checkpoint, which takes a second, where there is no `run.json`.
    """
    data = RunData(Run(name, []), folder)
    data.open_checkpoints = of_older_builds
    for read in (_read_history, _read_record, _read_plan, _read_errors, _read_log, _read_checkpoints):
        try:
            read(data)
        except FairseqError as error:
            data.missing.append(str(error))
        except OSError as error:
            data.missing.append(f"cannot read {error.filename or folder}: {reason(error)}")
    return data


def _read_history(data: RunData) -> None:
    path = data.folder / FILE_NAME
    if not path.exists():
        raise DataError(f"{FILE_NAME}: not there, so no curves; a run writes it beside its checkpoints")
    data.run = Run(data.name, read_history(path))
    if not data.run.records:
        raise DataError(f"{FILE_NAME}: holds nothing that a run has reported, so no curves")
    lines = sum(1 for line in path.read_bytes().split(b"\n") if line.strip())
    if lines > len(data.run.records):
        data.missing.append(f"{FILE_NAME}: {lines - len(data.run.records)} of its {lines} lines are damaged")


def _read_record(data: RunData) -> None:
    path = data.folder / RECORD
    if path.exists():
        try:
            data.record = _json(path)
        except DataError as error:
            data.missing.append(f"{error}; settings are those of a checkpoint, if there is one")
    config, changed = data.record.get("config"), data.record.get("changed")
    if isinstance(config, dict):
        data.config = dict(flat(config))
        if isinstance(changed, list):
            data.usual = {
                f"{each['place']}.{each['key']}": each.get("usual")
                for each in changed
                if isinstance(each, dict) and {"place", "key"} <= each.keys()
            }
        return
    if path.exists() and data.record:
        data.missing.append(f"{RECORD}: holds no settings; those of a checkpoint are shown, if there is one")
    if not path.exists():
        data.missing.append(f"{RECORD}: not there (runs of older builds have none), so no memory, command or versions")
    if data.open_checkpoints:
        _config_of_a_checkpoint(data)


def _config_of_a_checkpoint(data: RunData) -> None:
    """Settings from the newest checkpoint that has some, of which no weights are read."""
    from fairseq.checkpoint.contents import read_outline
    from fairseq.dataclass.changed import changed
    from fairseq.dataclass.utils import to_container

    files = sorted(data.folder.glob("checkpoint*.pt"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise DataError("settings: neither a run.json nor a checkpoint has them")
    try:
        cfg = read_outline(str(files[-1])).get("cfg")
    except CheckpointError as error:
        raise DataError(f"settings: {error}") from None
    if cfg is None:
        raise DataError(f"settings: {files[-1].name} has none that can be read")
    data.config = dict(flat(to_container(cfg)))
    data.usual = {f"{change.place}.{change.key}": to_container(change.usual) for change in changed(cfg)}


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested config; of a component its `_name` as the value of its slot.

    >>> list(flat({"optimizer": {"_name": "adam", "lr": [0.1]}, "bpe": None}))
    [('optimizer', 'adam'), ('optimizer.lr', [0.1]), ('bpe', None)]
    """
    for key, value in config.items():
        if key == "_name":
            if prefix and value is not None:
                yield prefix[:-1], value
        elif isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_plan(data: RunData) -> None:
    path = data.folder / PLAN
    if not path.exists():
        if data.config.get("quantization.preset") not in (None, "none"):
            raise DataError(f"{PLAN}: not there, so no map of bits")
        return
    try:
        rows = read_plan(_text(path), PLAN)["plan"]
    except CheckpointError as error:
        raise DataError(str(error)) from None
    data.plan = [row for row in rows if isinstance(row, dict)]


def _read_errors(data: RunData) -> None:
    if (data.folder / ERRORS).exists():
        data.errors = read_errors(data.folder)


def _read_log(data: RunData) -> None:
    path = data.folder / LOG
    if not path.exists():
        raise DataError(f"{LOG}: not there, so no last lines of its log")
    data.log = log_tail(path)


def log_tail(path: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log, each of at most `LINE_LENGTH` characters."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - (1 << 18)))
        found = file.read().decode("utf-8", "replace").splitlines()[-lines:]
    return [line if len(line) <= LINE_LENGTH else f"{line[:LINE_LENGTH]} ..." for line in found]


def _read_checkpoints(data: RunData) -> None:
    for path in sorted(data.folder.glob("*.pt")):
        state = path.stat()
        data.checkpoints.append(CheckpointFile(path.name, state.st_size, state.st_mtime))
    if not data.checkpoints:
        raise DataError("checkpoints: none")


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise DataError(f"{path.name}: no file that can be read whole")
    return path.read_text(encoding="utf-8", errors="replace")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: damaged ({reason(error)})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path.name}: damaged (it holds a {type(found).__name__})")
    return found


def _is_alive(process: Any) -> Optional[bool]:
    """Whether a process runs on this machine; True where that cannot be told."""
    if not isinstance(process, dict) or process.get("host") != platform.node():
        return True
    pid = process.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
