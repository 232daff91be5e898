"""Cutting a text file into byte ranges that start and end on line boundaries, so that workers can share it.

offsets = find_offsets("corpus.txt", 4)
for start, end in zip(offsets, offsets[1:]):
    with Chunker("corpus.txt", start, end) as lines:
        ...
"""

import io
import os
from collections.abc import Iterator

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


def iter_lines(filename: str, start: int = 0, end: int = -1) -> Iterator[str]:
    r"""Lines between two offsets of `find_offsets` (`end < 0`: to the end), ends of line as "\n".

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


class Chunker:
    """Context manager around `iter_lines`."""

    def __init__(self, path: str, start_offset: int, end_offset: int):
        self.path, self.start_offset, self.end_offset = path, start_offset, end_offset

    def __enter__(self) -> Iterator[str]:
        self._lines = iter_lines(self.path, self.start_offset, self.end_offset)
        return self._lines

    def __exit__(self, *exc_info: object) -> None:
        self._lines.close()  # type: ignore[attr-defined]
