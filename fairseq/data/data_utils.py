"""Helpers of tasks and datasets under the names fairseq users import; each lives in the module named here."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fairseq.data.batching import batch_by_size, shapes_of_buckets
from fairseq.data.buckets import get_bucketed_sizes, get_buckets
from fairseq.data.collating import collate_tokens, lengths_to_mask, lengths_to_padding_mask
from fairseq.data.filtering import (
    _filter_by_size_dynamic,
    filter_by_size,
    filter_by_sizes,
    filter_paired_dataset_indices_by_size,
)
from fairseq.data.post_process import post_process
from fairseq.data.seeding import derive_seed, numpy_seed
from fairseq.data.splits import (
    _find_extra_valid_paths,
    infer_language_pair,
    load_indexed_dataset,
    raise_if_valid_subsets_unintentionally_ignored,
)

__all__ = [
    "_filter_by_size_dynamic",
    "_find_extra_valid_paths",
    "batch_by_size",
    "collate_tokens",
    "collect_filtered",
    "derive_seed",
    "filter_by_size",
    "filter_by_sizes",
    "filter_paired_dataset_indices_by_size",
    "get_bucketed_sizes",
    "get_buckets",
    "get_mem_usage",
    "infer_language_pair",
    "lengths_to_mask",
    "lengths_to_padding_mask",
    "load_indexed_dataset",
    "numpy_seed",
    "post_process",
    "raise_if_valid_subsets_unintentionally_ignored",
    "shapes_of_buckets",
]


def collect_filtered(function: Callable[[Any], bool], iterable: Iterable, filtered: list) -> Iterator:
    """As `filter`; what is left out is added to `filtered`.

    >>> odd = []
    >>> list(collect_filtered(lambda n: n % 2 == 0, range(4), odd)), odd
    ([0, 2], [1, 3])
    """
    for item in iterable:
        if function(item):
            yield item
        else:
            filtered.append(item)


def get_mem_usage() -> str:
    """Memory that the machine has used and available, in words; `N/A` without psutil."""
    try:
        import psutil
    except ImportError:
        return "N/A"
    memory, gigabyte = psutil.virtual_memory(), 2**30
    return f"used={memory.used / gigabyte}GB; avail={memory.available / gigabyte}GB"
