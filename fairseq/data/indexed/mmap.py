"""The memory-mapped format, `--dataset-impl mmap` (little-endian throughout).

    .idx   9 bytes b"MMIDIDX\\0\\0", uint64 version (1), uint8 element type, uint64 N,
           N x int32 size of each item (elements), N x int64 where it starts in .bin (bytes)
    .bin   the elements, no header

Opening maps the two files and reads the 26 bytes of the header, so it takes as long for ten million items as for ten.
The first use of the data checks in one pass that every item lies within the file; after that, reading needs no checks.
"""

import mmap
import os
import struct
from typing import Any, Union

import numpy as np
import torch

from fairseq.data.errors import MissingDataError
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.indexed.names import DTYPES, MMAP_MAGIC, data_file_path, index_file_path, pair_exists
from fairseq.data.ragged import BatchReader, Ragged
from fairseq.errors import DataError

HEADER = struct.Struct("<9sQBQ")  # magic, version, element type, number of items
_CHECKED_AT_ONCE = 1 << 16


def map_file(path: str) -> Union[mmap.mmap, bytes]:
    """The file's bytes, mapped read-only (an empty file cannot be mapped: `b""`)."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise MissingDataError(f"no file {path}; run fairseq-preprocess, or check the data folder") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


class MMapIndex:
    """What an `.idx` file says: `dtype`, and per item its `sizes` (elements, int32) and `pointers` (bytes, int64)."""

    def __init__(self, path: str):
        buffer = map_file(path)
        if buffer[:8] != MMAP_MAGIC[:8]:
            raise DataError(f"{path} is not an mmap index; check --dataset-impl, or preprocess the data again")
        if len(buffer) < HEADER.size:
            raise DataError(f"{path} is truncated: {len(buffer)} bytes, header incomplete; preprocess the data again")
        _, version, code, count = HEADER.unpack_from(buffer)
        if version != 1:
            raise DataError(f"{path} has format version {version}, readable is 1; preprocess the data again")
        if code not in DTYPES:
            raise DataError(f"{path} has an unknown element type, code {code}; preprocess the data again")
        expected = HEADER.size + count * 12
        if len(buffer) != expected:
            raise DataError(
                f"{path} is {len(buffer)} bytes long, {expected} expected for {count} items; preprocess the data again"
            )
        self.path = path
        self.dtype = DTYPES[code]
        self.sizes = np.frombuffer(buffer, "<i4", count, HEADER.size)
        self.pointers = np.frombuffer(buffer, "<i8", count, HEADER.size + 4 * count)

    def __len__(self) -> int:
        return len(self.sizes)

    def check(self, num_bytes: int, data_path: str) -> None:
        """Raise DataError unless every item lies within a data file of `num_bytes`."""
        itemsize = np.dtype(self.dtype).itemsize
        for first in range(0, len(self), _CHECKED_AT_ONCE):  # blocks that stay in the cache
            pointers = self.pointers[first : first + _CHECKED_AT_ONCE]
            lengths = self.sizes[first : first + _CHECKED_AT_ONCE].astype(np.int64) * itemsize
            # written so that no pointer can overflow the sum
            bad = (lengths < 0) | (pointers < 0) | (pointers > num_bytes - lengths) | (pointers % itemsize != 0)
            if bad.any():
                item = first + int(bad.argmax())
                raise DataError(
                    f"{data_path} ({num_bytes} bytes) does not hold item {item} of {self.path} (byte "
                    f"{self.pointers[item]}, {self.sizes[item]} elements): truncated or of another run; "
                    "preprocess the data again"
                )


class MMapIndexedDataset(FairseqDataset):
    """Items of a `.bin/.idx` pair as int64 tensors (float64 for float data)."""

    Index = MMapIndex

    def __init__(self, path: str):
        super().__init__()
        self._open(path)

    def _open(self, path: str) -> None:
        self._path = path
        self._index = MMapIndex(index_file_path(path))
        buffer = map_file(data_file_path(path))
        self._num_bytes = len(buffer)
        self._checked = False
        dtype = np.dtype(self._index.dtype).newbyteorder("<")
        self._itemsize = dtype.itemsize
        self._elements = np.frombuffer(buffer, dtype, len(buffer) // dtype.itemsize)
        self._out = np.dtype(np.float64 if np.issubdtype(self._index.dtype, np.floating) else np.int64)
        if len(self._index):  # a file cut short is told at once: its last item is missing
            end = int(self._index.pointers[-1]) + int(self._index.sizes[-1]) * self._itemsize
            if end > self._num_bytes:
                self._check()

    def _check(self) -> None:
        self._index.check(self._num_bytes, data_file_path(self._path))
        self._checked = True

    # A worker process opens the files again instead of receiving their bytes.
    def __getstate__(self) -> str:
        return self._path

    def __setstate__(self, state: str) -> None:
        self._open(state)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: Any) -> torch.Tensor:
        if not self._checked:
            self._check()
        start = int(self._index.pointers[i]) // self._itemsize
        return torch.from_numpy(self._elements[start : start + int(self._index.sizes[i])].astype(self._out))

    def read_range(self, first: int, last: int) -> torch.Tensor:
        """Items `first .. last` joined, `(sum of lengths,)`: one read where they follow each other in the file."""
        starts = self._index.pointers[first : last + 1] // self._itemsize
        sizes = self.sizes[first : last + 1]
        if (starts[1:] == starts[:-1] + sizes[:-1]).all():
            return torch.from_numpy(self._elements[starts[0] : starts[-1] + sizes[-1]].astype(self._out))
        return torch.cat([self[i] for i in range(first, last + 1)])

    def gather(self, reader: BatchReader) -> Ragged:
        if not self._checked:
            self._check()
        lengths = self._index.sizes[reader.indices]
        starts = (self._index.pointers[reader.indices] // self._itemsize).tolist()
        elements = self._elements
        pieces = [elements[start : start + n] for start, n in zip(starts, lengths.tolist(), strict=True)]
        return Ragged(np.concatenate(pieces, dtype=self._out), lengths)

    @property
    def sizes(self) -> np.ndarray:
        """Number of elements of each item, int32 `(N,)`."""
        if not self._checked:
            self._check()
        return self._index.sizes

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    @staticmethod
    def exists(path: str) -> bool:
        return pair_exists(path)
