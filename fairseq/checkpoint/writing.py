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

logger = logging.getLogger(__name__)

# what network file systems report for a while and then no more
TRANSIENT = (errno.EAGAIN, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
ATTEMPTS = 3
PAUSE = 2.5  # seconds between attempts


def save(obj: Any, path: str) -> None:
    """Serialise `obj` to `path`.

    Raises:
        CheckpointError: it could not be written; what was at `path` before is still there.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with atomic(path) as file:
                _serialise(obj, file)
            return
        except OSError as error:
            if error.errno not in TRANSIENT or attempt == ATTEMPTS:
                raise _not_written(path, error) from None
            logger.warning(f"writing {path}: {error.strerror}; trying again in {PAUSE} s ({attempt} of {ATTEMPTS})")
            time.sleep(PAUSE)


def copy(source: str, target: str) -> None:
    """Copy the file `source` to `target`, whole or not at all; raises CheckpointError as `save` does."""
    try:
        with open(source, "rb") as reader, atomic(target) as writer:
            shutil.copyfileobj(reader, writer, 1 << 24)
    except OSError as error:
        raise _not_written(target, error) from None


@contextlib.contextmanager
def atomic(path: str) -> Iterator[BinaryIO]:
    """A file to write to that takes the name `path` when the block ends well, and vanishes when it does not.

    A device or pipe is written to: a file that took its name would be there instead of it, /dev/null for one.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with open(path, "wb") as file:
            yield file
        return
    partial = f"{path}.tmp"
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise
    _sync_folder(os.path.dirname(path) or ".")


def _sync_folder(folder: str) -> None:
    """Make the rename itself survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
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


def _serialise(obj: Any, file: BinaryIO) -> None:
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
