"""`PathManager`: file operations under the names that fairseq plugins call. Local files only. And `exists`.

>>> PathManager.exists("no-such-file"), exists("no-such-file")
(False, False)
"""

import io
import logging
import os
import shutil
from collections.abc import Callable
from typing import IO, Any, Optional, Union

from fairseq.checkpoint.background import Background
from fairseq.errors import DataError, FairseqError

IOPathManager = None  # fairseq's handle of iopath, which is not used here
logger = logging.getLogger(__name__)


def exists(path: Union[str, os.PathLike], error: type[FairseqError] = DataError) -> bool:
    """Whether there is a file or folder `path`.

    `os.path.exists` also says False if a folder on the way may not be entered; what then follows is a message that
    something is missing which is there.

    Raises:
        error: it cannot be found out, with the system's reason.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no name of a file, such as "a\0"
        return False
    except OSError as caught:
        raise error(f"cannot look for {os.fspath(path)}: {caught.strerror}") from None
    return True


class _BackgroundFile(io.BytesIO):
    """Bytes in memory that are written to `path`, whole or not at all, in the background when this is closed."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            _in_background.submit(_write, self._path, self.getvalue())
        super().close()

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self.close()
        else:  # half of a file replaces nothing
            super().close()


def _write(path: str, contents: bytes) -> None:
    with open(f"{path}.tmp", "wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)


_in_background = Background()  # what `PathManager.opena` has opened; fairseq's interface has no object to hold it


class PathManager:
    """Static methods over `os` and `shutil`."""

    @staticmethod
    def open(
        path: str,
        mode: str = "r",
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
    ) -> IO[Any]:
        return open(path, mode, buffering, encoding, errors, newline)

    @staticmethod
    def opena(
        path: str,
        mode: str = "wb",
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
    ) -> IO[Any]:
        """A file that is written in the background once it is closed, whole or not at all; `async_close` waits."""
        if mode not in ("w", "wb"):
            raise ValueError(f"only new files are written in the background (mode w or wb), not mode {mode!r}")
        file = _BackgroundFile(path)
        return file if mode == "wb" else io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    @staticmethod
    def later(function: Callable[..., Any], *args: Any) -> None:
        """Call `function` in the background, after the files that were opened before."""
        _in_background.submit(function, *args)

    @staticmethod
    def async_close() -> bool:
        """Wait for the files written in the background; False, with a message in the log, where one failed."""
        try:
            _in_background.wait()
        except Exception as error:
            logger.error(f"a file could not be written in the background: {error}")
            return False
        return True

    @staticmethod
    def register_handler(handler: Any) -> None:
        """Accepted for fairseq's callers: all paths are local here."""

    @staticmethod
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        """Copy a file; False, and nothing done, where the target exists and `overwrite` is not set."""
        if os.path.exists(dst_path) and not overwrite:
            return False
        shutil.copyfile(src_path, dst_path)
        return True

    @staticmethod
    def copy_from_local(local_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any) -> None:
        PathManager.copy(local_path, dst_path, overwrite)

    @staticmethod
    def get_local_path(path: str, **kwargs: Any) -> str:
        return path

    @staticmethod
    def exists(path: str) -> bool:
        return os.path.exists(path)

    @staticmethod
    def isfile(path: str) -> bool:
        return os.path.isfile(path)

    @staticmethod
    def islink(path: str) -> bool:
        return os.path.islink(path)

    @staticmethod
    def ls(path: str) -> list[str]:
        return os.listdir(path)

    @staticmethod
    def mkdirs(path: str) -> None:
        os.makedirs(path, exist_ok=True)

    @staticmethod
    def rm(path: str) -> None:
        os.remove(path)

    @staticmethod
    def rename(src: str, dst: str) -> None:
        """Move a file, replacing the target."""
        os.replace(src, dst)

    @staticmethod
    def chmod(path: str, mode: int) -> None:
        os.chmod(path, mode)

    @staticmethod
    def supports_rename(path: str) -> bool:
        return True

    @staticmethod
    def path_requires_pathmanager(path: str) -> bool:
        """False: every path can go to `open` directly."""
        return False
