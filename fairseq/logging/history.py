"""The history of a run: one JSON object per reported line, in `<save_dir>/history.jsonl`, for plots.

    {"tag": "train_inner", "epoch": 1, "num_updates": 200, "loss": 0.683, "lr": 2e-05}
    {"tag": "valid", "epoch": 1, "num_updates": 312, "loss": 0.652, "accuracy": 61.4}
    {"tag": "bits", "epoch": null, "num_updates": 313, "num_bits": 4}             where bits change, and only there
    {"tag": "done", "epoch": null, "num_updates": 936}                            the run came to its end

Numbers are kept unrounded as the loop reports them; NaN and infinities are `null`. A run that resumes at update U
first drops the lines after U (`truncate`), so that no update is recorded twice, and the line of its end.

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

FILE_NAME = "history.jsonl"
DONE = "done"  # tag of a finished run's last line


class History:
    """Appends to the history file at `path`, which is created with the first line."""

    def __init__(self, path: Union[str, Path]):
        self.path = Path(path)

    @classmethod
    def in_folder(cls, folder: Union[str, Path]) -> "History":
        """The history of the run that saves its checkpoints in `folder`."""
        return cls(Path(folder) / FILE_NAME)

    def append(self, tag: str, stats: dict[str, Any], step: int, epoch: Optional[int] = None) -> None:
        """Add one line: `stats` at update `step`. What is not a number or a string is left out."""
        record: dict[str, Any] = {"tag": tag, "epoch": epoch, "num_updates": int(step)}
        for key, value in stats.items():
            plain = _plain(value)
            if key not in record and plain is not _SKIP:
                record[key] = plain
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record, allow_nan=False) + "\n"
        with open(self.path, "a+b") as file:
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the process was killed inside a line
                    line = "\n" + line
            file.write(line.encode())

    def truncate(self, num_updates: int) -> None:
        """Drop every line later than update `num_updates`, and the end of the run: it goes on."""
        if not self.path.exists():
            return
        kept = [
            record
            for record in read_history(self.path)
            if record["num_updates"] <= num_updates and record["tag"] != DONE
        ]
        partial = self.path.with_name(self.path.name + ".tmp")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(partial, self.path)

    def last(self, tag: str) -> dict[str, Any]:
        """The last record of `tag`, an empty one where there is none."""
        records = read_history(self.path) if self.path.exists() else []
        return next((record for record in reversed(records) if record["tag"] == tag), {})


def read_history(path: Union[str, Path]) -> list[dict[str, Any]]:
    """All records in file order; `path` may be the run's folder. A line cut short by a crash is skipped."""
    path = Path(path)
    records = []
    for line in (path / FILE_NAME if path.is_dir() else path).read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("num_updates"), int) and "tag" in record:
            records.append(record)
    return records


_SKIP = object()


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it, or `_SKIP`."""
    if hasattr(value, "item") and getattr(value, "size", None) is not None:  # tensors, NumPy scalars and arrays
        count = value.numel() if hasattr(value, "numel") else value.size
        if count != 1:
            return _SKIP
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str)) else _SKIP
