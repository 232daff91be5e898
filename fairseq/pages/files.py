"""Writing a page's file: whole or not at all; a page that this package wrote before may be replaced."""

import contextlib
import os
from pathlib import Path

from fairseq.errors import ConfigError, DataError, reason
from fairseq.output_files import check_output

MARK = "<!-- a page of fairseq at any precision -->"


def check_page(path: Path, overwrite: bool = False) -> None:
    """As `check_output`, but one of our own pages may be replaced: it can be made again.

    Raises:
        ConfigError: `path` cannot be written, is another file, or is not called as a page is.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write {path}: the name of a page ends in .html; change --out")
    own = False
    if path.is_file():
        with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            own = MARK in file.read(200)
    check_output(path, overwrite or own)


def write_page(path: Path, text: str) -> None:
    """Write the text of a page.

    Raises:
        DataError: it cannot be written; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error)}; choose another file by --out") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
