"""Cutting a text file into byte ranges that start and end on line boundaries, so that workers can share it.

offsets = find_offsets("corpus.txt", 4)
for start, end in zip(offsets, offsets[1:]):
    with Chunker("corpus.txt", start, end) as lines:
        ...
"""

import io
import os
from collections.abc import Callable, Iterator
from typing import Any, Optional

from fairseq.errors import DataError

_BLOCK = 1 << 20  # bytes decoded at a time


def find_offsets(filename: str, num_chunks: int) -> list[int]:
    """`num_chunks + 1` byte offsets, the first 0 and the last the file's size; each is at the start of a line."""
    with open(filename, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        offsets = [0]
        for chunk in range(1, num_chunks):
            file.seek(size // num_chunks * chunk)
            file.readline()
            offsets.append(file.tell())
    return [*offsets, size]


def iter_lines(
    filename: str, start: int = 0, end: int = -1, seen: Optional[Callable[[int], None]] = None
) -> Iterator[str]:
    r"""Lines between two offsets of `find_offsets` (`end < 0`: to the end), ends of line as "\n".

    Args:
        seen: told how many bytes have been read, a block at a time.

    Raises:
        DataError: the bytes are not UTF-8.
    """
    with open(filename, "rb") as file:
        left = (os.fstat(file.fileno()).st_size if end < 0 else end) - start
        file.seek(start)
        # readlines returns more bytes than its argument, so its result is cut at `left`
        while left > 0 and (block := b"".join(file.readlines(min(left, _BLOCK)))[:left]):
            try:
                text = block.decode("utf-8")
            except UnicodeDecodeError as error:
                where = start + error.start
                raise DataError(f"{filename}: byte {where} is not UTF-8; convert the file to UTF-8 first") from None
            left -= len(block)
            start += len(block)
            yield from io.StringIO(text, newline=None)
            if seen is not None:
                seen(len(block))


class ChunkLineIterator:
    """The lines of an open file between two offsets; those that cross `end_offset` are whole.

    Args:
        end_offset: 0 or less: to the end of the file.
    """

    def __init__(self, fd: Any, start_offset: int, end_offset: int):
        self._fd, self._start_offset, self._end_offset = fd, start_offset, end_offset

    def __iter__(self) -> Iterator[str]:
        self._fd.seek(self._start_offset)
        while line := _safe_readline(self._fd):
            yield line
            if 0 < self._end_offset <= self._fd.tell():
                return


def _safe_readline(fd: Any) -> str:
    """The next line; from a position inside of a character, the character is read whole."""
    place = fd.tell()
    while True:
        try:
            return fd.readline()
        except UnicodeDecodeError:
            place -= 1
            fd.seek(place)


class Chunker:
    """Context manager around `iter_lines`."""

    def __init__(self, path: str, start_offset: int, end_offset: int, seen: Optional[Callable[[int], None]] = None):
        self.path, self.start_offset, self.end_offset, self._seen = path, start_offset, end_offset, seen

    def __enter__(self) -> Iterator[str]:
        self._lines = iter_lines(self.path, self.start_offset, self.end_offset, self._seen)
        return self._lines

    def __exit__(self, *exc_info: object) -> None:
        self._lines.close()  # type: ignore[attr-defined]
