"""Small text files of a study, replaced as a whole: whoever reads one meanwhile sees the old or the new one.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "table.md"
>>> replace_file(path, "one")
>>> path.read_text()
'one'
"""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path`.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
