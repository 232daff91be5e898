"""Data files: small ones are read whole, large ones are mapped without reading and checked before each epoch.

Reading a mapped page that the file no longer has ends the process by SIGBUS, which no Python code can catch. So before
an epoch, `check_files` compares the sizes of all mapped files below a dataset with those when they were opened. Within
an epoch there is no check: one system call a batch would cost up to a third of reading it. A small file, once read, may
change as it likes.
"""

import mmap
import os
from collections.abc import Iterable, Mapping
from typing import Any, Union

import torch.utils.data

from fairseq.data.errors import MissingDataError
from fairseq.errors import DataError

READ_WHOLE = 4 << 20  # bytes; reading them takes 0.15 ms


def map_file(path: str) -> Union[mmap.mmap, bytes]:
    """The file's bytes: mapped read-only, or read where there are at most `READ_WHOLE`."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size <= READ_WHOLE:
                return file.read()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise MissingDataError(f"no file {path}; run fairseq-preprocess, or check the data folder") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def check_size(path: str, mapped: Union[mmap.mmap, bytes]) -> None:
    """Raise DataError where the file that `mapped` shows has become shorter."""
    if isinstance(mapped, mmap.mmap) and (size := mapped.size()) < len(mapped):
        raise DataError(
            f"{path} had {len(mapped)} bytes when it was opened and has {size} now: it was truncated or is being "
            "written again; restore it, then continue from the last checkpoint"
        )


def check_files(dataset: Any) -> None:
    """`check_size` for all mapped files of `dataset` and of the datasets that it holds.

    Raises:
        DataError: one of them has become shorter.
    """
    _check(dataset, set())


def _check(part: Any, seen: set[int]) -> None:
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, torch.utils.data.Dataset):
        if hasattr(part, "check_files"):
            part.check_files()
        inner: Iterable[Any] = vars(part).values()
    elif isinstance(part, Mapping):
        inner = part.values()
    elif isinstance(part, (list, tuple)) and part and isinstance(part[0], (torch.utils.data.Dataset, Mapping)):
        inner = part
    else:
        return
    for value in inner:
        _check(value, seen)
