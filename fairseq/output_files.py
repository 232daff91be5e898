"""Where a command writes: files that are there already are kept, unless `--overwrite` says otherwise.

    check_output(Path("int8.pt"), overwrite=False)          # before the work starts
    with staged(Path("rte-hf"), overwrite=False, owned=NAMES) as folder:
        ...                                                 # files in `folder` move to rte-hf when the block ends well

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> _ = (folder / "model.onnx").write_text("an earlier export")
>>> check_output(folder / "other.onnx")
>>> check_output(folder / "model.onnx")  # doctest: +ELLIPSIS
Traceback (most recent call last):
...
fairseq.errors.ConfigError: ...model.onnx is there already; give another --out, or --overwrite to replace it
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from fairseq.errors import ConfigError, DataError

PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = (".png", ".pdf", ".svg", ".jpg")


def check_output(path: Path, overwrite: bool = False, option: str = "--out") -> None:
    """Refuse a file that cannot be written, or that would be replaced unasked.

    Args:
        option: how the command calls the file.

    Raises:
        ConfigError: `path` is a folder, its folder is missing, or it exists already.
    """
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; give {option} a file name")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no folder {path.parent}; make it, or give another {option}")
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"{path} is there already; give another {option}, or --overwrite to replace it")


def check_picture(path: Path, overwrite: bool = False, option: str = "--out") -> None:
    """As `check_output`, but a PNG may be replaced: it can be drawn again.

    Raises:
        ConfigError: also where the name does not end like a picture's.
    """
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"cannot draw {path}: the name of a picture ends in {', '.join(PICTURES)}; change {option}")
    redrawn = False
    if path.is_file():
        with open(path, "rb") as file:
            redrawn = file.read(len(PNG)) == PNG
    check_output(path, overwrite or redrawn, option)


def check_folder(dest: Path, owned: Collection[str], overwrite: bool = False) -> None:
    """Refuse a folder that holds one of the files `owned`; others do not matter.

    Raises:
        ConfigError: such a file is there, or `dest` is a file.
    """
    if os.path.lexists(dest) and not dest.is_dir():
        raise ConfigError(f"cannot write {dest}: it is a file; give --dest a folder")
    found = [name for name in owned if os.path.lexists(dest / name)]
    if found and not overwrite:
        raise ConfigError(f"{dest} holds {found[0]} already; give another --dest, or --overwrite to replace its files")


@contextmanager
def staged(dest: Path, owned: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder next to `dest`, whose files move to `dest` when the block ends without an error.

    Args:
        owned: names of all files that a command may write there. With `overwrite` those of an earlier run are replaced
            or, where the new run has none of that name, removed: readers choose by the files that they find.

    Raises:
        ConfigError: see `check_folder`; or the folder cannot be written.
    """
    check_folder(dest, owned, overwrite)
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    except OSError as error:
        raise ConfigError(f"cannot write {dest}: {error.strerror}; choose another --dest") from None
    try:
        yield folder
        try:
            dest.mkdir(exist_ok=True)
            for name in owned:
                if os.path.lexists(dest / name) and not os.path.lexists(folder / name):
                    (dest / name).unlink()
            for file in sorted(folder.iterdir()):
                shutil.move(file, dest / file.name)
        except OSError as error:
            raise ConfigError(f"cannot write {dest}: {error.strerror}; choose another --dest") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_folder(dest: Path, overwrite: bool, known: Optional[Collection[str]] = None) -> Iterator[Path]:
    """A temporary folder next to `dest` that becomes `dest` when the block ends without an error.

    Args:
        known: names that a folder may hold that is replaced; None: any.

    Raises:
        DataError: `dest` is there and not to be replaced, or cannot be written.
    """
    if os.path.lexists(dest) and (not dest.is_dir() or any(dest.iterdir())):
        if not overwrite:
            raise DataError(f"{dest} exists; remove it, give another --dest, or --overwrite to replace it")
        foreign = [] if known is None else sorted(path.name for path in dest.iterdir() if path.name not in known)
        if foreign:
            raise DataError(f"{dest} holds {foreign[0]}, which --overwrite would remove; move it, or change --dest")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    except OSError as error:
        raise DataError(f"cannot write {dest}: {error.strerror}; choose another --dest") from None
    try:
        folder.chmod(0o755)
        yield folder
        if dest.exists():
            shutil.rmtree(dest)
        folder.rename(dest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
