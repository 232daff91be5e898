"""Unpacking a downloaded zip file: all or nothing, inside its folder, and not much larger than the file.

    extract(Path("RTE.zip"), Path("RTE"), top="RTE")

A damaged archive is removed, so that the next run fetches it again.
"""

import errno
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from fairseq.errors import DataError, reason

# text packs to about a third; a file that unpacks to much more is not what GLUE publishes
MAX_BYTES, MAX_RATIO, FREE_BYTES, MAX_MEMBERS = 4 << 30, 100, 1 << 24, 1000
# what the system, and not the file, can be the reason of
OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE)


class DamagedArchive(DataError):
    """A zip file that cannot be used; it has been removed."""


def extract(archive: Path, folder: Path, top: str) -> None:
    """Unpack the members below `top/` into `folder`, all or nothing.

    Raises:
        DamagedArchive: no zip file, a damaged member, one that would land outside the folder, or too much of them.
        DataError: the archive cannot be read, or the folder not be written.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _unpack(archive, temporary)
        inner = temporary / top
        if not inner.is_dir():
            inner = next((path for path in temporary.iterdir() if path.is_dir()), temporary)
        os.replace(inner, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as contents:
            _check_sizes(contents, archive)
            for member in contents.infolist():
                _unpack_member(contents, member, folder, archive)
    except DamagedArchive:
        archive.unlink(missing_ok=True)
        raise
    except Exception as error:  # a damaged file can make zipfile and zlib fail in any way
        if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
            raise DataError(f"cannot unpack {archive}: {error.strerror}") from None
        archive.unlink(missing_ok=True)
        raise DamagedArchive(
            f"{archive} is no intact zip file ({reason(error)}); run the command again to download it again"
        ) from None


def _check_sizes(contents: zipfile.ZipFile, archive: Path) -> None:
    members, packed = contents.infolist(), archive.stat().st_size
    unpacked = sum(member.file_size for member in members)  # no member gives more than it declares
    if unpacked > min(MAX_BYTES, MAX_RATIO * packed + FREE_BYTES) or len(members) > MAX_MEMBERS:
        raise DamagedArchive(
            f"{archive} ({packed:,} bytes) would unpack to {unpacked:,} bytes in {len(members):,} files; "
            "do not use this file"
        )


def _unpack_member(contents: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, archive: Path) -> None:
    target = (folder / member.filename).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise DamagedArchive(f"{archive} has a member outside its folder: {member.filename!r}; do not use this file")
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with contents.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
