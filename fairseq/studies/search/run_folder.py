"""The folder of one training or compression, and its `result.json`, whose being there says that it is finished."""

import contextlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq.errors import DataError
from fairseq.studies.files import replace_file

RESULT, CHECKPOINT = "result.json", "checkpoint_last.pt"


class Run:
    """The folder of one training or compression, and its `result.json`."""

    def __init__(self, folder: Path, key: str):
        self.folder, self.key = folder, key
        self.result: dict[str, Any] = {}

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def is_done(self) -> bool:
        return bool(self.result)

    @property
    def numbers(self) -> dict[str, Any]:
        return dict(self.result["metrics"])

    def read(self) -> None:
        """Take a result that is there; what a killed process has left is none."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
            self.result = found if found.get("key") == self.key else {}

    def write(self, result: Mapping[str, Any]) -> None:
        """Note the result, which makes the run a finished one.

        Raises:
            DataError: a score that is no number.
        """
        for key, value in result["metrics"].items():
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(f"{key} is {value}: training or compression has diverged")
        self.result = {"key": self.key, **result}
        replace_file(self.folder / RESULT, json.dumps(self.result, indent=1) + "\n")

    def clear(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def drop_weights(self) -> None:
        for path in self.folder.glob("checkpoint*.pt"):
            path.unlink(missing_ok=True)

    def require_weights(self) -> None:
        """Raise DataError where the checkpoint is gone."""
        if not self.checkpoint.is_file():
            raise DataError(f"{self.checkpoint} is gone; remove {self.folder}, so that it is trained again")
