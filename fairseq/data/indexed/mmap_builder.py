"""Writing the memory-mapped format, byte for byte as fairseq does.

builder = MMapIndexedDatasetBuilder("train.bin", dtype=np.uint16)
builder.add_item(torch.tensor([5, 6, 2]))
builder.finalize("train.idx")
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fairseq.data.indexed.mmap import HEADER, MMapIndex
from fairseq.data.indexed.names import MMAP_MAGIC, data_file_path, dtype_code, index_file_path
from fairseq.errors import DataError

_COPIED_AT_ONCE = 1 << 20  # bytes


class MMapIndexedDatasetBuilder:
    """Writes a `.bin/.idx` pair: `add_item` for each item, then `finalize`."""

    def __init__(self, out_file: str, dtype: Any = np.int64):
        self._path = out_file
        self._file = open(out_file, "wb")  # noqa: SIM115 (closed by finalize)
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._limits = None if self._dtype.kind == "f" else np.iinfo(self._dtype)
        self._sizes: list[int] = []

    def add_item(self, tensor: Any) -> None:
        """Append one item, a tensor, array or list; its elements are stored in C order.

        Raises:
            DataError: an element does not fit the element type (fairseq stores it modulo the range).
        """
        values = np.asarray(tensor)
        self.add_items(values, [values.size])

    def add_items(self, values: np.ndarray, sizes: Sequence[int]) -> None:
        """Append items whose elements follow each other in `values`, `sizes[i]` each; raises as `add_item`."""
        if self._limits is not None and values.size and values.dtype != self._dtype:
            low, high = values.min(), values.max()
            if low < self._limits.min or high > self._limits.max:
                value = low if low < self._limits.min else high
                raise DataError(f"{self._path}: value {value} does not fit elements of type {self._dtype.name}")
        self._file.write(values.astype(self._dtype, order="C", copy=False).tobytes())
        self._sizes += sizes

    def merge_file_(self, another_file: str) -> None:
        """Append all items of the finished pair with prefix `another_file`, of the same element type."""
        index = MMapIndex(index_file_path(another_file))
        if np.dtype(index.dtype) != self._dtype:
            raise DataError(f"{another_file} has elements of {np.dtype(index.dtype)}, expected {self._dtype.name}")
        data = data_file_path(another_file)
        expected = int(index.sizes.sum(dtype=np.int64)) * self._dtype.itemsize
        if os.path.getsize(data) != expected:
            raise DataError(f"{data} is {os.path.getsize(data)} bytes long, {expected} expected from its index")
        self._sizes += index.sizes.tolist()
        with open(data, "rb") as source:
            while block := source.read(_COPIED_AT_ONCE):
                self._file.write(block)

    def finalize(self, index_file: str) -> None:
        """Close the data and write the index."""
        self._file.close()
        sizes = np.array(self._sizes, "<i4")
        pointers = np.zeros(len(sizes), "<i8")
        np.cumsum(sizes[:-1] * np.int64(self._dtype.itemsize), out=pointers[1:])
        with open(index_file, "wb") as file:
            file.write(HEADER.pack(MMAP_MAGIC, 1, dtype_code(self._dtype), len(sizes)))
            file.write(sizes.tobytes())
            file.write(pointers.tobytes())
