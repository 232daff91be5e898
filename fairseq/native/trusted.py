"""Whether compiled code on disk is ours: only what nobody else could have written is loaded.

    prepare(folder)                  # nobody else can write it from here on
    if distrust(library) is None:    # ... and nobody else could have written the file
        load(library)

"Nobody else" is everybody but this user and root, by owner and mode. Systems without such owners are not checked.
"""

import os
import stat
from pathlib import Path
from typing import Optional

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def distrust(path: Path) -> Optional[str]:
    """Who else could have written `path` (a file or folder that is there), in words; None where nobody."""
    if not hasattr(os, "geteuid"):
        return None
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user ({found.st_uid})"
    if found.st_mode & OTHERS_WRITE:
        return f"other users can write {path}"
    return None


def prepare(folder: Path) -> None:
    """Make `folder` if it is missing. One that others could write is closed to them, and code in it removed: it may not
    be ours.

    Raises:
        PermissionError: the folder belongs to somebody else.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        protect(folder)
    elif (reason := distrust(folder)) is not None:
        if folder.stat().st_uid != os.geteuid():
            raise PermissionError(f"{reason}: no code is loaded from it; set XDG_CACHE_HOME to a folder of your own")
        protect(folder)
        for library in folder.glob("*.so"):
            library.unlink(missing_ok=True)


def protect(path: Path) -> None:
    """Let only its owner write `path`, whatever the umask."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS_WRITE)
