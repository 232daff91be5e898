"""Indexed datasets: what `fairseq-preprocess` writes and training reads, whichever format it is in.

    builder = make_builder("train.bin", impl="mmap", vocab_size=50265)
    builder.add_item(torch.tensor([5, 6, 2]))
    builder.finalize("train.idx")
    dataset = make_dataset("train", impl="infer")

The formats are described where they are implemented, in `fairseq.data.indexed`.
"""

from typing import IO, Any, Optional

import numpy as np

from fairseq.data.huffman.huffman_mmap_indexed_dataset import HuffmanMMapIndexedDataset
from fairseq.data.indexed.legacy import IndexedCachedDataset, IndexedDataset, IndexedDatasetBuilder
from fairseq.data.indexed.mmap import MMapIndexedDataset
from fairseq.data.indexed.mmap_builder import MMapIndexedDatasetBuilder
from fairseq.data.indexed.names import (
    DTYPES,
    best_fitting_int_dtype,
    data_file_path,
    dtype_code,
    index_file_path,
    infer_dataset_impl,
    pair_exists,
)
from fairseq.data.indexed.raw import IndexedRawTextDataset
from fairseq.errors import ConfigError, DataError, unknown
from fairseq.file_io import PathManager

__all__ = [
    "IndexedCachedDataset",
    "IndexedDataset",
    "IndexedDatasetBuilder",
    "IndexedRawTextDataset",
    "MMapIndexedDataset",
    "MMapIndexedDatasetBuilder",
    "best_fitting_int_dtype",
    "data_file_path",
    "dataset_exists",
    "get_available_dataset_impl",
    "get_indexed_dataset_to_local",
    "index_file_path",
    "infer_dataset_impl",
    "make_builder",
    "make_dataset",
    "read_longs",
    "write_longs",
]

_code_to_dtype = DTYPES
_dtype_header_code = dtype_code
_READERS = {"mmap": MMapIndexedDataset, "cached": IndexedCachedDataset, "lazy": IndexedDataset}
_UNSUPPORTED = ("fasta",)


def get_available_dataset_impl() -> list[str]:
    """Names `--dataset-impl` accepts."""
    return ["raw", "lazy", "cached", "mmap", "huffman"]


def _check(impl: Optional[str], path: str) -> None:
    if impl in _UNSUPPORTED:
        raise DataError(f"{path}: dataset format {impl!r} is not supported; preprocess the data with mmap")
    if impl not in get_available_dataset_impl():
        raise ConfigError(unknown("dataset_impl", str(impl), get_available_dataset_impl()))


def make_builder(out_file: str, impl: str, vocab_size: Optional[int] = None) -> Any:
    """A builder that writes items to `out_file`; `mmap` picks its element type by `vocab_size`."""
    if impl == "mmap":
        return MMapIndexedDatasetBuilder(out_file, dtype=best_fitting_int_dtype(vocab_size))
    _check(impl, out_file)
    if impl == "raw":
        raise ConfigError("dataset_impl 'raw' is plain text and has no builder; choose 'mmap'")
    if impl == "huffman":
        raise ConfigError("dataset_impl 'huffman' is written by fairseq.data.huffman.HuffmanMMapIndexedDatasetBuilder")
    return IndexedDatasetBuilder(out_file)


def make_dataset(
    path: str, impl: Optional[str], fix_lua_indexing: bool = False, dictionary: Any = None
) -> Optional[Any]:
    """The dataset at `path` (without extension, except for raw text), or None if there is none.

    Args:
        impl: a name from `get_available_dataset_impl`, or `infer`.
        fix_lua_indexing: take 1 off the elements of the legacy formats (always so for text).
        dictionary: encodes the lines of `raw`.
    """
    if impl == "infer":
        impl = infer_dataset_impl(path)
        if impl is None:
            return None
    _check(impl, path)
    if impl == "raw":
        if not IndexedRawTextDataset.exists(path):
            return None
        if dictionary is None:
            raise ConfigError(f"{path} is raw text and needs a dictionary")
        return IndexedRawTextDataset(path, dictionary)
    if not pair_exists(path):
        return None
    if impl == "mmap":
        return MMapIndexedDataset(path)
    if impl == "huffman":
        return HuffmanMMapIndexedDataset(path)
    return _READERS[impl](path, fix_lua_indexing=fix_lua_indexing)  # type: ignore[index]


def dataset_exists(path: str, impl: str) -> bool:
    """True where `make_dataset(path, impl)` has files to read."""
    return IndexedRawTextDataset.exists(path) if impl == "raw" else pair_exists(path)


def get_indexed_dataset_to_local(path: str) -> str:
    """`path`, where its two files can be read: copies, where `PathManager` keeps them elsewhere."""
    local = PathManager.get_local_path(index_file_path(path))
    PathManager.get_local_path(data_file_path(path))
    return local.removesuffix(".idx")


def read_longs(f: IO[bytes], n: int) -> np.ndarray:
    """`n` integers of 8 bytes, as indexes hold them."""
    values = np.empty(n, dtype=np.int64)
    f.readinto(values)  # type: ignore[attr-defined]
    return values


def write_longs(f: IO[bytes], a: Any) -> None:
    f.write(np.array(a, dtype=np.int64).tobytes())


def _warmup_mmap_file(path: str) -> None:
    """Read a file once, so that it is in memory."""
    with open(path, "rb") as stream:
        while stream.read(100 * 1024 * 1024):
            pass
