"""File names, element types and magic numbers of the indexed formats.

A data set `prefix` is a pair: `prefix.bin` (the elements of all items, joined) and `prefix.idx` (where each item is).

>>> data_file_path("RTE-bin/train"), index_file_path("RTE-bin/train")
('RTE-bin/train.bin', 'RTE-bin/train.idx')
>>> best_fitting_int_dtype(50265).__name__, best_fitting_int_dtype().__name__
('uint16', 'uint32')
"""

import os
from typing import Any, Optional

import numpy as np

from fairseq.errors import DataError
from fairseq.file_io import exists

MMAP_MAGIC = b"MMIDIDX\x00\x00"
LEGACY_MAGIC = b"TNTIDX\x00\x00"
HUFFMAN_MAGIC = b"HUFFIDX\x00\x00"

# Code of an element type in the header of an index. 6 and 7 both are what Python calls float.
DTYPES: dict[int, type] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    6: np.float64,
    7: np.float64,
    8: np.uint16,
    9: np.uint32,
    10: np.uint64,
}


def dtype_code(dtype: Any) -> int:
    """The header code of a NumPy element type."""
    requested = np.dtype(dtype)
    for code, known in DTYPES.items():
        if np.dtype(known) == requested:
            return code
    raise ValueError(f"no index format holds elements of type {requested}")


def best_fitting_int_dtype(max_int_to_represent: Optional[int] = None) -> type:
    """The element type a vocabulary of this size is stored in; uint32 where it is not known."""
    if max_int_to_represent is None:
        return np.uint32
    if max_int_to_represent < 65500:
        return np.uint16
    if max_int_to_represent < 4294967295:
        return np.uint32
    return np.int64


def index_file_path(prefix_path: str) -> str:
    return prefix_path + ".idx"


def data_file_path(prefix_path: str) -> str:
    return prefix_path + ".bin"


def pair_exists(prefix_path: str) -> bool:
    """True where both files of the pair are there."""
    return exists(index_file_path(prefix_path)) and exists(data_file_path(prefix_path))


def infer_dataset_impl(path: str) -> Optional[str]:
    """`mmap`, `cached` or `huffman` by the magic number of `path.idx`, `raw` for a plain file `path`, else None."""
    if pair_exists(path):
        try:
            with open(index_file_path(path), "rb") as file:
                magic = file.read(8)
        except OSError as error:
            raise DataError(f"cannot read {index_file_path(path)}: {error.strerror}") from None
        formats = {LEGACY_MAGIC[:8]: "cached", MMAP_MAGIC[:8]: "mmap", HUFFMAN_MAGIC[:8]: "huffman"}
        return formats.get(magic)
    return "raw" if os.path.isfile(path) else None
