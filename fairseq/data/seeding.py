"""Random numbers that depend on a seed and nothing else.

>>> with numpy_seed(1):
...     round(float(np.random.rand()), 4)
0.417
"""

import contextlib
from collections.abc import Iterator
from typing import Optional

import numpy as np


def derive_seed(seed: int, *addl_seeds: int) -> int:
    """One seed from several numbers (epoch, item, ...): `int(hash((seed, *addl_seeds)) % 1e6)`, or `seed` alone."""
    return int(hash((seed, *addl_seeds)) % 1e6) if addl_seeds else seed


@contextlib.contextmanager
def numpy_seed(seed: Optional[int], *addl_seeds: int) -> Iterator[None]:
    """NumPy's global generator seeded inside the block and as before after it; `seed` None changes nothing."""
    if seed is None:
        yield
        return
    state = np.random.get_state()
    np.random.seed(derive_seed(seed, *addl_seeds))
    try:
        yield
    finally:
        np.random.set_state(state)
