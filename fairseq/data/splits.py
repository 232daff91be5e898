"""Finding and opening the files of a data folder: languages, splits, shards of a split.

valid = load_indexed_dataset("RTE-bin/input0/valid", dictionary)      # None if there is no such file
"""

import itertools
import logging
import os
from pathlib import Path
from typing import Any, Optional

from fairseq.data.errors import MissingDataError
from fairseq.data.indexed.names import data_file_path, index_file_path, pair_exists
from fairseq.data.indexed_dataset import infer_dataset_impl, make_dataset
from fairseq.errors import DataError
from fairseq.file_io import exists

logger = logging.getLogger("fairseq.data.data_utils")  # the name fairseq logs this under


def load_indexed_dataset(
    path: str,
    dictionary: Any = None,
    dataset_impl: Optional[str] = None,
    combine: bool = False,
    default: str = "cached",
) -> Optional[Any]:
    """The dataset at `path` (no extension), or None if there is none.

    Args:
        dictionary: encodes raw text; ids of indexed data that it does not have are an error when they are read.
        dataset_impl: its format; None: what the index says.
        combine: append `path1`, `path2`, ... as far as they exist.
        default: the format where nothing says otherwise.
    """
    datasets: list[Any] = []
    for k in itertools.count():
        path_k = f"{path}{k}" if k else path
        impl = dataset_impl or infer_dataset_impl(path_k)
        if impl is None and pair_exists(path_k):
            raise DataError(f"{index_file_path(path_k)} is not the index of a dataset; preprocess the data again")
        dataset = make_dataset(path_k, impl=impl or default, fix_lua_indexing=True, dictionary=dictionary)
        if dataset is None:
            _complain_about_half_a_pair(path_k)
            break
        if dictionary is not None and hasattr(dataset, "expect_ids_of"):
            dataset.expect_ids_of(dictionary)
        logger.info(f"loaded {len(dataset):,} examples from: {path_k}")
        datasets.append(dataset)
        if not combine:
            break
    if len(datasets) > 1:
        from fairseq.data.concat_dataset import ConcatDataset

        return ConcatDataset(datasets)
    return datasets[0] if datasets else None


def _complain_about_half_a_pair(path: str) -> None:
    for there, missing in ((index_file_path, data_file_path), (data_file_path, index_file_path)):
        if exists(there(path)):
            raise MissingDataError(f"{there(path)} is there, but {missing(path)} is not; preprocess the data again")


def infer_language_pair(path: str) -> tuple[Optional[str], Optional[str]]:
    """Source and target language from a file name like `train.de-en.de.idx`; `(None, None)` if there is none."""
    for name in sorted(os.listdir(path)):
        parts = name.split(".")
        if len(parts) >= 3 and len(languages := parts[1].split("-")) == 2:
            return languages[0], languages[1]
    return None, None


def _find_extra_valid_paths(dataset_path: str) -> set[str]:
    """Names of validation splits in a folder other than `valid`: {"valid1", ...}.

    A plugin's task may read a file instead of a folder, which has no further splits, or `valid-images.gz` in it.
    """
    if not exists(dataset_path):
        raise MissingDataError(f"no data folder {dataset_path}; check task.data")
    return {path.name.split(".")[0] for path in Path(dataset_path).glob("valid[0-9]*.*")}


def raise_if_valid_subsets_unintentionally_ignored(train_cfg: Any) -> None:
    """DataError if the data folder has validation splits that no setting names, combines or ignores."""
    dataset = train_cfg.dataset
    if dataset.disable_validation or dataset.ignore_unused_valid_subsets or dataset.combine_valid_subsets:
        return
    data = train_cfg.task.get("data") if hasattr(train_cfg.task, "get") else getattr(train_cfg.task, "data", None)
    if not data:
        return
    paths = data.split(os.pathsep) if isinstance(data, str) else list(data)
    extra = {name for path in paths for name in _find_extra_valid_paths(path)}
    ignored = sorted(extra - set(dataset.valid_subset.split(",")))
    if ignored:
        raise DataError(
            f"Valid paths {ignored} will be ignored. Set --combine-val to combine them or "
            "--ignore-unused-valid-subsets to ignore them."
        )
