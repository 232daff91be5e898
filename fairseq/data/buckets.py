"""Rounding lengths up to a few bucket lengths, so that batches have few different shapes.

>>> buckets = get_buckets(np.array([1, 2, 3, 4, 5, 10, 20, 20]), 3)
>>> buckets.tolist(), get_bucketed_sizes(np.array([2, 4]), buckets).tolist()
([3, 5, 20], [3, 5])
"""

from typing import Any

import numpy as np


def get_buckets(sizes: np.ndarray, num_buckets: int) -> np.ndarray:
    """At most `num_buckets` lengths, ascending, that hold about the same number of items each."""
    quantiles = np.percentile(sizes, np.linspace(0, 100, num_buckets + 1), method="lower")
    return np.unique(quantiles[1:])


def get_bucketed_sizes(orig_sizes: np.ndarray, buckets: Any) -> np.ndarray:
    """Each size rounded up to the next bucket."""
    buckets = np.asarray(buckets)
    return buckets[np.searchsorted(buckets, orig_sizes)]
