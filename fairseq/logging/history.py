"""The history of a run: one JSON object per reported line, in `<save_dir>/history.jsonl`, for plots.

    {"tag": "train_inner", "epoch": 1, "num_updates": 200, "loss": 0.683, "lr": 2e-05}
    {"tag": "valid", "epoch": 1, "num_updates": 312, "loss": 0.652, "accuracy": 61.4}
    {"tag": "bits", "epoch": null, "num_updates": 313, "num_bits": 4}             where bits change, and only there
    {"tag": "done", "epoch": null, "num_updates": 936, "bitops": 2.1e12, ...}     the run came to its end; what it cost

Numbers are kept unrounded as the loop reports them; NaN and infinities are `null`. A run that resumes at update U
first drops the lines after U (`truncate`), so that no update is recorded twice, and the line of its end. A history that
cannot be read or written is reported once; it never ends a run.

>>> import tempfile
>>> history = History.in_folder(tempfile.mkdtemp())
>>> history.append("train", {"loss": 0.5}, step=10, epoch=1)
>>> history.append("train", {"loss": 0.4}, step=20, epoch=2)
>>> history.truncate(10)
>>> read_history(history.path)
[{'tag': 'train', 'epoch': 1, 'num_updates': 10, 'loss': 0.5}]
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.errors import DataError, reason
from fairseq.logging.side_outputs import SideOutput

FILE_NAME = "history.jsonl"
DONE = "done"  # tag of a finished run's last line


class History:
    """Appends to the history file at `path`, which is created with the first line."""

    def __init__(self, path: Union[str, Path]):
        self.path = Path(path)
        self._output = SideOutput(str(path), "curves of this run will lack updates")

    @classmethod
    def in_folder(cls, folder: Union[str, Path]) -> "History":
        """The history of the run that saves its checkpoints in `folder`."""
        return cls(Path(folder) / FILE_NAME)

    def append(self, tag: str, stats: dict[str, Any], step: int, epoch: Optional[int] = None) -> None:
        """Add one line: `stats` at update `step`. What is not a number or a string is left out."""
        record: dict[str, Any] = {"tag": tag, "epoch": epoch, "num_updates": int(step)}
        for key, value in stats.items():
            number = _json_value(value)
            if key not in record and number is not _SKIP:
                record[key] = number
        with self._output.attempt():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps(record, allow_nan=False) + "\n"
            with open(self.path, "a+b") as file:
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # the process was killed inside a line
                        line = "\n" + line
                file.write(line.encode())

    def truncate(self, num_updates: int) -> None:
        """Drop every line later than update `num_updates`, what is not a line of a history, and the end of the run."""
        with self._output.attempt():
            if not self.path.is_file():  # none yet; or a device, whose end may never come
                return
            kept = [
                line
                for line in _lines(self.path)
                if (record := _record(line)) and _at(record) <= num_updates and record["tag"] != DONE
            ]
            partial = self.path.with_name(self.path.name + ".tmp")
            try:
                partial.write_bytes(b"".join(line + b"\n" for line in kept))
                os.replace(partial, self.path)
            finally:
                partial.unlink(missing_ok=True)

    def last(self, tag: str) -> dict[str, Any]:
        """The last record of `tag`, an empty one if there is none."""
        records: list[dict[str, Any]] = []
        if self.path.is_file():
            with self._output.attempt():
                records = read_history(self.path)
        return next((record for record in reversed(records) if record["tag"] == tag), {})


def read_history(path: Union[str, Path]) -> list[dict[str, Any]]:
    """All records in file order; `path` may be the run's folder. What is not a record, such as a line cut short by a
    crash, is skipped.

    Raises:
        DataError: the file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if path.exists() and not path.is_file():  # a device may have no end
        raise DataError(f"cannot read {path}: it is not a file")
    try:
        lines = _lines(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from None
    return [record for line in lines if (record := _record(line)) is not None]


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")


def _record(line: bytes) -> Optional[dict[str, Any]]:
    """The record that a line holds, or None."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    if not isinstance(record, dict) or not isinstance(record.get("tag"), str):
        return None
    step = record.get("num_updates")
    return record if isinstance(step, int) and 0 <= step < 2**63 else None


def _at(record: dict[str, Any]) -> int:
    return record["num_updates"]


_SKIP = object()


def _json_value(value: Any) -> Any:
    """`value` as JSON can hold it, or `_SKIP`."""
    if hasattr(value, "item") and getattr(value, "size", None) is not None:  # tensors, NumPy scalars and arrays
        count = value.numel() if hasattr(value, "numel") else value.size
        if count != 1:
            return _SKIP
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str)) else _SKIP
