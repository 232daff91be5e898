"""The memory-mapped format, `--dataset-impl mmap` (little-endian throughout).

    .idx   9 bytes b"MMIDIDX\\0\\0", uint64 version (1), uint8 element type, uint64 N,
           N x int32 size of each item (elements), N x int64 where it starts in .bin (bytes)
    .bin   the elements, no header

Opening maps the two files and reads the 26 bytes of the header, so it takes as long for ten million items as for ten.
The first use of the data checks in one pass that the items follow each other and fill the file, as every builder writes
them; after that, reading needs no checks.
"""

import struct
from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.indexed.files import check_size, map_file
from fairseq.data.indexed.names import DTYPES, MMAP_MAGIC, data_file_path, index_file_path, pair_exists
from fairseq.data.indexed.tokens import TokenCheck
from fairseq.data.ragged import BatchReader, Ragged
from fairseq.errors import DataError

HEADER = struct.Struct("<9sQBQ")  # magic, version, element type, number of items
_CHECKED_AT_ONCE = 1 << 16


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
        self.buffer = buffer
        self.dtype = DTYPES[code]
        self.sizes = np.frombuffer(buffer, "<i4", count, HEADER.size)
        self.pointers = np.frombuffer(buffer, "<i8", count, HEADER.size + 4 * count)

    def __len__(self) -> int:
        return len(self.sizes)

    def check(self, num_bytes: int, data_path: str) -> None:
        """Raise DataError unless the items follow each other and fill a data file of `num_bytes`."""
        itemsize = np.dtype(self.dtype).itemsize
        position = 0  # where the next item has to begin
        for first in range(0, len(self), _CHECKED_AT_ONCE):  # blocks that stay in the cache
            pointers = self.pointers[first : first + _CHECKED_AT_ONCE]
            lengths = self.sizes[first : first + _CHECKED_AT_ONCE].astype(np.int64)
            lengths *= itemsize
            ends = np.cumsum(lengths)
            ends += position
            wrong = lengths < 0
            wrong[0] |= pointers[0] != position
            wrong[1:] |= pointers[1:] != ends[:-1]
            if wrong.any():
                item = first + int(wrong.argmax())
                raise DataError(
                    f"{self.path} is damaged: item {item} ({self.sizes[item]} elements from byte {self.pointers[item]} "
                    "on) does not begin where the items before it end; preprocess the data again"
                )
            position = int(ends[-1])
        if position != num_bytes:
            raise DataError(
                f"{data_path} ({num_bytes} bytes) does not hold the {len(self)} items of {self.path} ({position} "
                "bytes): truncated or of another run; preprocess the data again"
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
        self._buffer = buffer
        self._num_bytes = len(buffer)
        self._checked = False
        self._tokens: Optional[TokenCheck] = None
        self._dictionary: Any = None
        dtype = np.dtype(self._index.dtype).newbyteorder("<")
        self._itemsize = dtype.itemsize
        self._elements = np.frombuffer(buffer, dtype, len(buffer) // dtype.itemsize)
        self._out = np.dtype(np.float64 if np.issubdtype(self._index.dtype, np.floating) else np.int64)
        if len(self._index):  # a truncated file is reported when it is opened: its last item is missing
            end = int(self._index.pointers[-1]) + int(self._index.sizes[-1]) * self._itemsize
            if end > self._num_bytes:
                self._check()

    def _check(self) -> None:
        self.check_files()
        self._index.check(self._num_bytes, data_file_path(self._path))
        self._checked = True
        if self._dictionary is not None and np.issubdtype(self._index.dtype, np.integer):
            self._tokens = TokenCheck(self._elements, range(len(self._dictionary)), self._describe)

    def _describe(self, element: int) -> str:
        item = int(np.searchsorted(self._index.pointers, element * self._itemsize, side="right")) - 1
        return f"{data_file_path(self._path)}: element {element} (item {item})"

    def _look(self, start: int, end: int) -> None:
        tokens = self._tokens  # read once: another thread may have looked at the last of them
        if tokens is not None:
            tokens.look(start, end)
            if tokens.left == 0:
                self._tokens = None

    def expect_ids_of(self, dictionary: Any) -> None:
        """From now on an id beyond `dictionary` (anything with a length) is a DataError when it is first read."""
        self._dictionary, self._checked = dictionary, False

    def check_files(self) -> None:
        """Raise DataError where a file has become shorter since it was opened."""
        check_size(self._index.path, self._index.buffer)
        check_size(data_file_path(self._path), self._buffer)

    # A worker process opens the files again instead of receiving their bytes.
    def __getstate__(self) -> tuple:
        return self._path, None if self._dictionary is None else len(self._dictionary)

    def __setstate__(self, state: tuple) -> None:
        path, num_ids = state
        self._open(path)
        if num_ids is not None:
            self.expect_ids_of(range(num_ids))

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: Any) -> torch.Tensor:
        if not self._checked:
            self._check()
        start = int(self._index.pointers[i]) // self._itemsize
        end = start + int(self._index.sizes[i])
        self._look(start, end)
        return torch.from_numpy(self._elements[start:end].astype(self._out))

    def read_range(self, first: int, last: int) -> torch.Tensor:
        """Items `first .. last` joined, `(sum of lengths,)`."""
        if not self._checked:
            self._check()
        start = int(self._index.pointers[first]) // self._itemsize
        end = int(self._index.pointers[last]) // self._itemsize + int(self._index.sizes[last])
        self._look(start, end)
        return torch.from_numpy(self._elements[start:end].astype(self._out))

    def gather(self, reader: BatchReader) -> Ragged:
        if not self._checked:
            self._check()
        if not len(reader.indices):
            return Ragged(np.zeros(0, self._out), np.zeros(0, np.int32))
        lengths = self._index.sizes[reader.indices]
        starts = self._index.pointers[reader.indices] // self._itemsize
        tokens = self._tokens
        if tokens is not None:
            tokens.look_at_all(starts, starts + lengths)
            if tokens.left == 0:
                self._tokens = None
        elements = self._elements
        pieces = [elements[start : start + n] for start, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
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
