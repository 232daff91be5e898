"""The format of the first fairseq, `--dataset-impl lazy` and `cached` (little-endian).

.idx   8 bytes b"TNTIDX\\0\\0", uint64 version (1), uint64 element type, uint64 element size, uint64 N, uint64 S,
       int64 dim_offsets[N+1] (into sizes), int64 data_offsets[N+1] (elements), int64 sizes[S]
.bin   the elements; text is stored with 1 added (Lua counts from 1), `fix_lua_indexing` subtracts it
"""

import math
import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.indexed.files import check_size, map_file
from fairseq.data.indexed.names import DTYPES, LEGACY_MAGIC, data_file_path, dtype_code, index_file_path, pair_exists
from fairseq.data.indexed.tokens import TokenCheck
from fairseq.errors import DataError

_HEADER = struct.Struct("<8sQQQQQ")


class IndexedDataset(FairseqDataset):
    """Items as int64 tensors (floats are kept as floats), read from the file on access."""

    def __init__(self, path: str, fix_lua_indexing: bool = False):
        super().__init__()
        self.path = path
        self.fix_lua_indexing = fix_lua_indexing
        self._open()

    def _open(self) -> None:
        path = index_file_path(self.path)
        buffer = map_file(path)
        if buffer[:8] != LEGACY_MAGIC:
            raise DataError(f"{path} is not a lazy/cached index; check --dataset-impl, or preprocess the data again")
        if len(buffer) < _HEADER.size:
            raise DataError(f"{path} is truncated: {len(buffer)} bytes; preprocess the data again")
        _, version, code, self.element_size, self._len, self.s = _HEADER.unpack_from(buffer)
        if version != 1:
            raise DataError(f"{path} has format version {version}, readable is 1; preprocess the data again")
        if code not in DTYPES:
            raise DataError(f"{path} has an unknown element type, code {code}; preprocess the data again")
        self.dtype = np.float32 if (code in (6, 7) and self.element_size == 4) else DTYPES[code]
        expected = _HEADER.size + 8 * (2 * (self._len + 1) + self.s)
        if len(buffer) != expected or np.dtype(self.dtype).itemsize != self.element_size:
            raise DataError(f"{path} is {len(buffer)} bytes long, {expected} expected; preprocess the data again")
        numbers = np.frombuffer(buffer, "<i8", offset=_HEADER.size)
        self.dim_offsets, self.data_offsets, self.sizes = np.split(numbers, [self._len + 1, 2 * (self._len + 1)])
        data = map_file(data_file_path(self.path))
        self._buffers = {path: buffer, data_file_path(self.path): data}
        self._dictionary: Any = None
        self._tokens: Optional[TokenCheck] = None
        self._elements = np.frombuffer(data, np.dtype(self.dtype).newbyteorder("<"), len(data) // self.element_size)
        self._check_offsets()

    def _check_offsets(self) -> None:
        index, data = index_file_path(self.path), data_file_path(self.path)
        for offsets, end, what in (
            (self.dim_offsets, self.s, index),
            (self.data_offsets, len(self._elements), data),
        ):
            if offsets[0] != 0 or offsets[-1] != end or (offsets[1:] < offsets[:-1]).any():
                raise DataError(
                    f"{what} does not hold what {index} says: truncated or of another run; preprocess the data again"
                )
        if len(self._buffers[data]) % self.element_size:
            raise DataError(f"{data} ends within an element: truncated; preprocess the data again")
        shaped = bool((np.diff(self.dim_offsets) != 1).any())
        lengths = np.diff(self.data_offsets).tolist() if shaped else np.diff(self.data_offsets)
        products = self._products() if shaped else self.sizes[self.dim_offsets[:-1]]
        # dimensions of shaped items are bounded too, as (2^40, 0) has the product 0
        limit = np.iinfo(np.int32).max
        if (self.sizes < 0).any() or (self.sizes > limit).any() or not np.array_equal(products, lengths):
            raise DataError(f"{index}: sizes and offsets disagree; preprocess the data again")

    def _products(self) -> list[int]:
        """Number of elements of each item from its dimensions; Python's integers do not overflow."""
        sizes = self.sizes.tolist()
        return [math.prod(sizes[a:b]) for a, b in pairwise(self.dim_offsets.tolist())]

    def expect_ids_of(self, dictionary: Any) -> None:
        """From now on an id beyond `dictionary` (anything with a length) is a DataError when it is first read."""
        self._dictionary = dictionary
        if np.issubdtype(self.dtype, np.integer):
            first = int(self.fix_lua_indexing)
            self._tokens = TokenCheck(self._elements, range(first, len(dictionary) + first), self._describe)

    def _describe(self, element: int) -> str:
        item = int(np.searchsorted(self.data_offsets, element, side="right")) - 1
        return f"{data_file_path(self.path)}: element {element} (item {item})"

    def check_files(self) -> None:
        """Raise DataError where a file has become shorter since it was opened."""
        for path, buffer in self._buffers.items():
            check_size(path, buffer)

    def __getstate__(self) -> tuple:
        return self.path, self.fix_lua_indexing, None if self._dictionary is None else len(self._dictionary)

    def __setstate__(self, state: tuple) -> None:
        self.path, self.fix_lua_indexing, num_ids = state
        self._open()
        if num_ids is not None:
            self.expect_ids_of(range(num_ids))

    def check_index(self, i: int) -> None:
        if i < 0 or i >= self._len:
            raise IndexError("index out of range")

    def __getitem__(self, i: int) -> torch.Tensor:
        self.check_index(i)
        start, end = int(self.data_offsets[i]), int(self.data_offsets[i + 1])
        if self._tokens is not None:
            self._tokens.look(start, end)
        elements = self._elements[start:end]
        shape = self.sizes[self.dim_offsets[i] : self.dim_offsets[i + 1]].tolist()
        if elements.dtype.kind == "f":
            return torch.from_numpy(elements.astype(elements.dtype.newbyteorder("="))).reshape(shape)
        return torch.from_numpy(elements.astype(np.int64) - int(self.fix_lua_indexing)).reshape(shape)

    def __len__(self) -> int:
        return self._len

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    @staticmethod
    def exists(path: str) -> bool:
        return pair_exists(path)


class IndexedCachedDataset(IndexedDataset):
    """The same; `prefetch` is accepted (the mapped file is its own cache)."""

    @property
    def supports_prefetch(self) -> bool:
        return True

    def prefetch(self, indices: Iterable[int]) -> None:
        """Nothing to do: pages are read, and kept, by the operating system."""


class IndexedDatasetBuilder:
    """Writes a `.bin/.idx` pair; integers are stored with 1 added."""

    def __init__(self, out_file: str, dtype: Any = np.int32):
        self.out_file = open(out_file, "wb")  # noqa: SIM115 (closed by finalize)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.data_offsets, self.dim_offsets = [0], [0]
        self.sizes: list[int] = []

    def add_item(self, tensor: Any) -> None:
        values = np.asarray(tensor) + 1
        self.out_file.write(values.astype(self.dtype).tobytes())
        self.data_offsets.append(self.data_offsets[-1] + values.size)
        self.sizes += values.shape
        self.dim_offsets.append(self.dim_offsets[-1] + values.ndim)

    def merge_file_(self, another_file: str) -> None:
        """Append all items of the finished pair with prefix `another_file`, of the same element type."""
        other = IndexedDataset(another_file)
        if np.dtype(other.dtype) != self.dtype:
            raise DataError(f"{another_file} has elements of {np.dtype(other.dtype)}, expected {self.dtype.name}")
        first, first_dim = self.data_offsets[-1], self.dim_offsets[-1]
        self.data_offsets += (other.data_offsets[1:] + first).tolist()
        self.dim_offsets += (other.dim_offsets[1:] + first_dim).tolist()
        self.sizes += other.sizes.tolist()
        with open(data_file_path(another_file), "rb") as source:
            while block := source.read(1 << 20):
                self.out_file.write(block)

    def finalize(self, index_file: str) -> None:
        """Close the data and write the index."""
        self.out_file.close()
        counts = len(self.data_offsets) - 1, len(self.sizes)
        with open(index_file, "wb") as file:
            file.write(_HEADER.pack(LEGACY_MAGIC, 1, dtype_code(self.dtype), self.dtype.itemsize, *counts))
            for numbers in (self.dim_offsets, self.data_offsets, self.sizes):
                file.write(np.array(numbers, "<i8").tobytes())
