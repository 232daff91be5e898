"""What a checkpoint may unfold to: a small file must not fill the memory.

    a compressed part                    a megabyte of zeros packs into a kilobyte
    a tensor expanded from one number    its shape costs nothing until it is copied
    [[x, x], [x, x]] sixty times over    few objects, but 2^60 when written out

>>> twice = ["x"]
>>> for _ in range(60): twice = [twice, twice]
>>> check_contents({"cfg": twice}, file_size=1000)
Traceback (most recent call last):
...
ValueError: lists in lists that unfold to more than 10,000,000 entries
"""

import io
import os
import zipfile
from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor

MAX_ENTRIES = 10_000_000
# times the file's size, plus: PyTorch compresses nothing, and only positions and masks are ever expanded
RATIO, FREE = 4, 1 << 24  # bytes


class Bounded(io.BufferedReader):
    """A file that is never read beyond its end: `read` allocates whatever length a pickle claims."""

    def __init__(self, path: str):
        super().__init__(io.FileIO(path))
        self._size = os.path.getsize(path)

    def read(self, size: Optional[int] = -1) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def check_archive(archive: zipfile.ZipFile, path: str) -> None:
    """Raise ValueError where the parts of a zip file are much larger unpacked than the file."""
    unpacked, size = sum(part.file_size for part in archive.infolist()), os.path.getsize(path)
    if unpacked > RATIO * size + FREE:
        raise ValueError(f"{size:,} bytes that unpack to {unpacked:,}")


def check_contents(loaded: Any, file_size: int, tensors: bool = True) -> None:
    """Raise ValueError where `loaded` claims much more than a file of `file_size` bytes can hold.

    Args:
        tensors: False where they are shapes only, which take no memory.
    """
    _entries(loaded, RATIO * file_size + FREE if tensors else None, {})


def _entries(value: Any, most_bytes: Optional[int], done: dict[int, int]) -> int:
    """How many objects `value` is made of, shared ones counted each time they occur."""
    if isinstance(value, Tensor):
        if most_bytes is not None:
            _check_tensor(value, most_bytes)
        return 1
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = 1  # where it contains itself
    count = 1
    for part in _parts(value):
        count += _entries(part, most_bytes, done)
        if count > MAX_ENTRIES:
            raise ValueError(f"lists in lists that unfold to more than {MAX_ENTRIES:,} entries")
    done[id(value)] = count
    return count


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set)):
        return value
    return vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, type) else ()


def _check_tensor(tensor: Tensor, most_bytes: int) -> None:
    if tensor.is_meta or tensor.layout != torch.strided:
        raise ValueError(f"a tensor that is not dense in CPU memory ({tensor.device.type}, {tensor.layout})")
    if tensor.numel() * tensor.element_size() > most_bytes:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)}, which has no place in the file")
