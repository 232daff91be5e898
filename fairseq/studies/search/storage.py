"""Where trials are kept: SQLite in OUT unless the file names another place that Optuna knows.

    storage: sqlite:///search.db          # or postgresql://..., mysql://... : several machines
    storage: journal.log                  # a journal, on a file system that machines share

A journal whose last line a killed process has not finished opens, and loses what is written to it next; so it is cut to
its last whole line first.
"""

import os
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, DataError, reason
from fairseq.studies.search.samplers import import_optuna, quiet
from fairseq.studies.search.workers import locked

DEFAULT = "search.db"
JOURNALS = (".log", ".journal", ".jsonl")
BUSY_SECONDS = 120


def open_storage(storage: Optional[str], out: Path) -> Any:
    """The storage of a search.

    Args:
        storage: a URL, or the file of a journal; None: SQLite in `out`.

    Raises:
        ConfigError: no URL, a database that cannot be reached, a driver that is not installed.
    """
    optuna = import_optuna()
    url = storage or f"sqlite:///{(out / DEFAULT).absolute()}"
    with locked(out / ".storage.lock"), quiet():
        if "://" not in url:
            return _journal(optuna, Path(url))
        options: dict[str, Any] = {}
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": BUSY_SECONDS}  # of others' writing
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except Exception as error:  # of SQLAlchemy and of the driver, which is anybody's
            raise ConfigError(f"cannot open the storage {_shown(url)}: {reason(error)[:200]}") from None


def _journal(optuna: Any, path: Path) -> Any:
    if path.suffix not in JOURNALS:
        raise ConfigError(
            f"storage {str(path)!r}: needs a URL such as sqlite:///search.db, or a journal whose name ends in "
            f"{', '.join(JOURNALS)}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mend_journal(path)
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    except OSError as error:
        raise ConfigError(f"cannot open the storage {path}: {reason(error)}") from None
    except ValueError as error:
        raise DataError(f"the journal {path} is damaged ({reason(error)}); move it away to start anew") from None


def mend_journal(path: Path) -> int:
    """Cut a journal to its last whole line; returns the number of bytes that were cut."""
    if not path.exists():
        return 0
    lock = import_optuna().storages.journal.JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            end = _end_of_last_line(file, size)
            if end < size:
                file.truncate(end)
            return size - end
    finally:
        lock.release()


def _end_of_last_line(file: Any, size: int, block: int = 65536) -> int:
    end = size
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        end = start
    return 0


def _shown(url: str) -> str:
    """A URL without its password."""
    scheme, _, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    return f"{scheme}://{account.split(':')[0]}{at}{place}" if at else url
