"""Helpers of tasks and datasets under the names fairseq users import; each lives in the module named here."""

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
    "derive_seed",
    "filter_by_size",
    "filter_by_sizes",
    "filter_paired_dataset_indices_by_size",
    "get_bucketed_sizes",
    "get_buckets",
    "infer_language_pair",
    "lengths_to_mask",
    "lengths_to_padding_mask",
    "load_indexed_dataset",
    "numpy_seed",
    "post_process",
    "raise_if_valid_subsets_unintentionally_ignored",
    "shapes_of_buckets",
]
