"""Writing a checkpoint so that its name always leads to a whole file: a temporary file next to it, fsync, rename.

    save(state, "checkpoint1.pt")
    copy("checkpoint1.pt", "checkpoint_last.pt")    # the same bytes again, without serialising twice

A full disk, a crash or a signal in the middle leaves the previous file as it was; the temporary one is removed (or,
after a kill, overwritten by the next write).
"""

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, Optional

import torch

from fairseq.errors import CheckpointError
from fairseq.file_io import PathManager

logger = logging.getLogger(__name__)

# what network file systems report for a while and then no more
TRANSIENT = (errno.EAGAIN, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
ATTEMPTS = 3
PAUSE = 2.5  # seconds between attempts


def save(obj: Any, path: str, files: Any = PathManager) -> None:
    """Serialise `obj` to `path`.

    Args:
        files: opens and renames: `PathManager`, or what a user has put in its place.

    Raises:
        CheckpointError: it could not be written; what was at `path` before is still there.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with atomic(path, files) as file:
                serialise(obj, file)
            return
        except OSError as error:
            if error.errno not in TRANSIENT or attempt == ATTEMPTS:
                raise _not_written(path, error) from None
            logger.warning(f"writing {path}: {error.strerror}; trying again in {PAUSE} s ({attempt} of {ATTEMPTS})")
            time.sleep(PAUSE)


def copy(source: str, target: str, files: Any = PathManager) -> None:
    """Copy the file `source` to `target`, whole or not at all; raises CheckpointError as `save` does."""
    try:
        with files.open(source, "rb") as reader, atomic(target, files) as writer:
            shutil.copyfileobj(reader, writer, 1 << 24)
    except OSError as error:
        raise _not_written(target, error) from None


@contextlib.contextmanager
def atomic(path: str, files: Any = PathManager) -> Iterator[BinaryIO]:
    """A file to write to that takes the name `path` when the block ends well, and vanishes when it does not.

    A device or pipe is written to: a file that took its name would be there instead of it, /dev/null for one.
    """
    is_device = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    if is_device or not files.supports_rename(path):
        with files.open(path, "wb") as file:
            yield file
        return
    partial = f"{path}.tmp"
    try:
        with files.open(partial, "wb") as file:
            yield file
        _sync(partial)
        files.rename(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise
    _sync(os.path.dirname(path) or ".")


def _sync(path: str) -> None:
    """Make a file's contents, or the renaming inside a folder, survive a power failure.

    What is not there is nothing of the file system's: a user's `PathManager` keeps it elsewhere.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


class _Sink:
    """The file as `torch.save` sees it. A failed write is remembered and raised afterwards: an exception must not pass
    through PyTorch's C++ writer, which would write on while it is being torn down.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: Optional[OSError] = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass


def serialise(obj: Any, file: Any) -> None:
    """Write `obj` to an open file in PyTorch's format."""
    sink = _Sink(file)
    torch.save(obj, sink)  # type: ignore[arg-type]  # only `write` and `flush` are called
    if sink.error is not None:
        raise sink.error


def _not_written(path: str, error: OSError) -> CheckpointError:
    hint = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EFBIG: "raise the file size limit (ulimit -f)",
        errno.EACCES: "check the folder's permissions",
        errno.EROFS: "choose another folder with checkpoint.save_dir",
        errno.ENOENT: "the folder is gone",
    }.get(error.errno or 0, "choose another folder with checkpoint.save_dir")
    return CheckpointError(
        f"cannot write checkpoint {path}: {error.strerror or error}; {hint}. The checkpoint before it is untouched"
    )
