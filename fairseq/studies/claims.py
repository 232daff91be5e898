"""Who runs a cell: a lock on a file in its folder, which the system takes back when the process ends, however it ends.

    with claim(cell.folder) as mine:
        if mine: ...

Several processes, also of several machines with one file system, share a study by it.
"""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

from fairseq.errors import DataError, reason

FILE = ".claim"
_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def claim(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Whether nobody else has claimed `folder`; if so it is claimed for the length of the block.

    Args:
        folder: made if missing.
        wait: until it is free.

    Raises:
        DataError: the file system has no locks, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / FILE).open("ab")
    except OSError as error:
        raise DataError(f"cannot write {folder}: {reason(error)}; choose another --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise DataError(f"cannot lock {folder}: {reason(error)}; choose an --out with file locks") from None
            yield False
            return
        yield True  # closing the file gives it back
