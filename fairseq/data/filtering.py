"""Leaving out items that are longer than the model's positions.

`max_sizes` is a number, a tuple (one limit per input, None for no limit) or a dict of those for items with named sizes.

>>> filter_by_sizes(np.array([0, 1, 2]), np.array([3, 9, 4]), 5)
(array([0, 2]), [1])
"""

import logging
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np

from fairseq.errors import DataError

logger = logging.getLogger("fairseq.data.data_utils")  # the name fairseq logs this under


def filter_by_sizes(indices: np.ndarray, sizes: np.ndarray, max_size: Optional[float]) -> tuple[np.ndarray, list[int]]:
    """`indices` whose `sizes[index]` is at most `max_size`, and a list of the others."""
    if max_size is None:
        return indices, []
    too_long = sizes[indices] > max_size
    return indices[~too_long], indices[too_long].tolist()


def filter_indices(indices: np.ndarray, dataset: Any, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
    """The same for a dataset: at once if it has one array of sizes, else item by item with `dataset.size`."""
    limit = max_sizes
    if isinstance(limit, (tuple, list)) and len({*limit}) == 1:
        limit = limit[0]
    sizes = getattr(dataset, "sizes", None)
    if isinstance(sizes, (list, tuple)) and len(sizes) == 1:
        sizes = sizes[0]
    one_limit = limit is None or isinstance(limit, (int, float))
    if one_limit and isinstance(sizes, np.ndarray) and sizes.ndim == 1:
        return filter_by_sizes(indices, sizes, limit)
    return _filter_by_size_dynamic(indices, dataset.size, max_sizes)


def _fits(size: Any, limit: Any) -> bool:
    if size is None or limit is None:
        return True
    if isinstance(limit, Mapping):
        return all(_fits(size[name], limit[name]) for name in limit.keys() & size.keys())
    if isinstance(limit, (tuple, list)) and isinstance(size, (tuple, list)):
        return all(_fits(part, part_limit) for part, part_limit in zip(size, limit, strict=False))
    if isinstance(limit, (tuple, list)):
        return all(_fits(size, part_limit) for part_limit in limit)
    if isinstance(size, (tuple, list)):
        return all(_fits(part, limit) for part in size)
    return bool(size <= limit)


def _filter_by_size_dynamic(
    indices: np.ndarray, size_fn: Callable[[int], Any], max_positions: Any, raise_exception: bool = False
) -> tuple[np.ndarray, list[int]]:
    fits = np.fromiter((_fits(size_fn(i), max_positions) for i in indices.tolist()), dtype=bool, count=len(indices))
    if raise_exception and not fits.all():
        raise DataError(_too_long(indices[~fits][0], size_fn, max_positions))
    return indices[fits], indices[~fits].tolist()


def _too_long(index: int, size_fn: Callable[[int], Any], max_positions: Any) -> str:
    return (
        f"example {index} is too long: its size is {size_fn(index)}, max_positions={max_positions}; leave such "
        "examples out with dataset.skip_invalid_size_inputs_valid_test=true (--skip-invalid-size-inputs-valid-test)"
    )


def filter_by_size(indices: np.ndarray, dataset: Any, max_positions: Any, raise_exception: bool = False) -> np.ndarray:
    """`indices` without those that are too long.

    Warns how many were left out, or with `raise_exception` raises DataError for the first.
    """
    kept, ignored = dataset.filter_indices_by_size(indices, max_positions)
    if len(ignored) > 0:
        if raise_exception:
            raise DataError(_too_long(ignored[0], dataset.size, max_positions))
        logger.warning(
            f"left out {len(ignored):,} examples that are longer than max_positions={max_positions}, "
            f"the first of them: {[int(i) for i in ignored[:10]]}"
        )
    return kept


def filter_paired_dataset_indices_by_size(
    src_sizes: np.ndarray, tgt_sizes: Optional[np.ndarray], indices: np.ndarray, max_sizes: Any
) -> tuple[np.ndarray, list[int]]:
    """`filter_by_sizes` for pairs; `max_sizes` is one limit for both or a tuple `(source, target)`."""
    if max_sizes is None:
        return indices, []
    max_src, max_tgt = max_sizes if isinstance(max_sizes, (tuple, list)) else (max_sizes, max_sizes)
    too_long = np.zeros(len(indices), dtype=bool)
    if max_src is not None:
        too_long |= src_sizes[indices] > max_src
    if tgt_sizes is not None and max_tgt is not None:
        too_long |= tgt_sizes[indices] > max_tgt
    return indices[~too_long], indices[too_long].tolist()
