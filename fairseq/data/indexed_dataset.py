"""Indexed datasets: what `fairseq-preprocess` writes and training reads, whichever format it is in.

    builder = make_builder("train.bin", impl="mmap", vocab_size=50265)
    builder.add_item(torch.tensor([5, 6, 2]))
    builder.finalize("train.idx")
    dataset = make_dataset("train", impl="infer")

The formats are described where they are implemented, in `fairseq.data.indexed`.
"""

from typing import Any, Optional

from fairseq.data.indexed.legacy import IndexedCachedDataset, IndexedDataset, IndexedDatasetBuilder
from fairseq.data.indexed.mmap import MMapIndexedDataset
from fairseq.data.indexed.mmap_builder import MMapIndexedDatasetBuilder
from fairseq.data.indexed.names import (
    best_fitting_int_dtype,
    data_file_path,
    index_file_path,
    infer_dataset_impl,
    pair_exists,
)
from fairseq.data.indexed.raw import IndexedRawTextDataset
from fairseq.errors import ConfigError, DataError, unknown

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
    "index_file_path",
    "infer_dataset_impl",
    "make_builder",
    "make_dataset",
]

_READERS = {"mmap": MMapIndexedDataset, "cached": IndexedCachedDataset, "lazy": IndexedDataset}
_UNSUPPORTED = ("huffman", "fasta")


def get_available_dataset_impl() -> list[str]:
    """Names `--dataset-impl` accepts."""
    return ["raw", "lazy", "cached", "mmap"]


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
    return _READERS[impl](path, fix_lua_indexing=fix_lua_indexing)  # type: ignore[index]


def dataset_exists(path: str, impl: str) -> bool:
    """True where `make_dataset(path, impl)` has files to read."""
    return IndexedRawTextDataset.exists(path) if impl == "raw" else pair_exists(path)
