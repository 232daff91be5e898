r"""What runs have reported, read back from their folders: `history.jsonl`, or the log lines of fairseq itself.

A log file may have json or simple lines, with fairseq's or Hydra's head:

    2026-11-21 10:00:00 | INFO | train_inner | {"epoch": 1, "update": 0.5, "loss": "0.69", "num_updates": "200", ...}
    [2026-11-21 10:00:00,000][valid][INFO] - epoch 001 | valid on 'valid' subset | loss 0.65 | num_updates 312

>>> parse_line("2026-11-21 10:00:00 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 0.65 | num_updates 312")
{'tag': 'valid', 'loss': 0.65, 'num_updates': 312}
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import DataError
from fairseq.logging.history import FILE_NAME, read_history

_HEAD = re.compile(r"(?:^.*? \| \w+ \| (?P<pipe>\w+) \| |^\[[^]]*\]\[(?P<hydra>\w+)\]\[\w+\] - )(?P<rest>.*)$")
_SIMPLE = re.compile(r"epoch \d+(?::\s+\d+ / \d+ (?P<inner>.*)| \| (?P<end>.*))$")


@dataclass
class Run:
    """One run: its name for the legend, and its records as `fairseq.logging.history` describes them."""

    name: str
    records: list[dict[str, Any]]

    def reported(self) -> set[str]:
        """Everything that is reported as a number, except where it was reported."""
        return {
            key
            for record in self.records
            for key, value in record.items()
            if isinstance(value, (int, float)) and key not in ("num_updates", "epoch")
        }

    def last_update(self) -> int:
        """Number of the last update that was reported on."""
        return max((record["num_updates"] for record in self.records), default=0)

    def series(self, tag: str, key: str) -> list[tuple[int, float]]:
        """`(num_updates, value)` of all lines of `tag` that report `key`, by update; other validation subsets not."""
        points = {
            record["num_updates"]: value
            for record in self.records
            if record["tag"] == tag and isinstance(record.get(key), (int, float))
            if (value := _number(record[key])) is not None and math.isfinite(value)
        }
        return sorted(points.items())


def find_runs(path: Path) -> list[Run]:
    """The runs in a folder (searched through, as a multirun has several), or the one of a history or log file. Runs
    that a later one has replaced (`previous-N`) are left out, unless it is their folder that is given.

    Raises:
        DataError: the path is missing or holds nothing that a run has reported.
    """
    if not path.exists():
        raise DataError(f"no run at {path}; give the folder a run was saved to (checkpoint.save_dir) or its log file")
    if path.is_file():
        files = [path]
    else:
        files = [file for file in sorted(path.rglob(FILE_NAME)) if not _is_replaced(file.relative_to(path))]
        files = files or sorted(path.rglob("*.log"))
    runs = []
    for file in files:
        records = read_history(file) if file.name == FILE_NAME else read_log(file)
        if records:
            runs.append(Run(_name(path, file), records))
    if not runs:
        raise DataError(f"{path} holds no {FILE_NAME} and no fairseq log with numbers; give a run's folder or log file")
    return runs


def _is_replaced(file: Path) -> bool:
    return any(re.fullmatch(r"previous-\d+", part) for part in file.parts)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a fairseq log file with json or simple lines.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            parsed = (parse_line(line.rstrip("\n")) for line in file)
            return [record for record in parsed if record is not None]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def parse_line(line: str) -> Optional[dict[str, Any]]:
    """The record that one log line reports, or None."""
    head = _HEAD.match(line)
    if head is None:
        return None
    tag, rest = head["pipe"] or head["hydra"], head["rest"]
    if rest.startswith("{"):
        try:
            raw = json.loads(rest)
        except (ValueError, RecursionError):
            return None
        pairs = {key.removeprefix(f"{tag}_"): value for key, value in raw.items() if key != "epoch"}
    elif simple := _SIMPLE.match(rest):
        if simple["inner"] is not None:
            pairs = dict(pair.split("=", 1) for pair in simple["inner"].split(", ") if "=" in pair)
        else:
            pairs = dict(pair.rsplit(" ", 1) for pair in simple["end"].split(" | ") if " " in pair)
    else:
        return None
    numbers = {key: number for key, value in pairs.items() if (number := _number(value)) is not None}
    if not 0 <= numbers.get("num_updates", -1) < 2**63:
        return None
    return {"tag": tag, **numbers, "num_updates": int(numbers["num_updates"])}


def _number(value: Any) -> Optional[float]:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _name(path: Path, file: Path) -> str:
    """A short label: the path's own name, then the file's place below it without `checkpoints`."""
    if path.is_file() and path.suffix == ".log":
        return f"{path.resolve().parent.name}/{path.name}"
    top = (path.parent if path.is_file() else path).resolve()
    parts = [top.name, *([] if path.is_file() else file.parent.relative_to(path).parts)]
    if parts[-1] == "checkpoints":
        parts = parts[:-1] or [top.parent.name]
    return "/".join(parts)
