"""Ranges that come with a tensor: a kernel that writes one sees its smallest and largest value at no cost.

    cache_minmax(y, low, high)             # by who made y
    cached_minmax(y)                       # (low, high) for who reads it next, None where nobody knows

They are kept on the tensor itself, with its version: writing to it makes them unknown, a view or a copy has none. Who
writes past the version, through `.data`, NumPy or a collective, calls `invalidate`.
Tensors made in inference mode count no versions; nothing is noted for them.

>>> y = torch.tensor([2.0, -1.0])
>>> cache_minmax(y, torch.tensor(-1.0), torch.tensor(2.0))
>>> cached_minmax(y)
(tensor(-1.), tensor(2.))
>>> invalidate(y)
>>> cached_minmax(y) is None, cached_minmax(y.add_(1)), cached_minmax(y.view(2))
(True, None, None)
"""

from typing import Optional

import torch
from torch import Tensor

_NAME = "_cached_minmax"  # id, version, low, high: plain data, so that a tensor with it can be saved


def cache_minmax(y: Tensor, low: Tensor, high: Tensor) -> None:
    """Keep the extremes of `y`, two numbers on its device. NaN in `y` makes both NaN, as in torch.aminmax."""
    if not y.is_inference():
        setattr(y, _NAME, (id(y), y._version, low, high))


def cached_minmax(x: Tensor) -> Optional[tuple[Tensor, Tensor]]:
    """The extremes that were noted for this very tensor, if it has not been written to since."""
    if torch.compiler.is_compiling():
        return None
    cached = getattr(x, _NAME, None)
    if cached is None or x.is_inference() or cached[:2] != (id(x), x._version):
        return None
    return cached[2], cached[3]


def invalidate(x: Tensor) -> None:
    """Whatever was noted for `x` is void."""
    if hasattr(x, _NAME):
        delattr(x, _NAME)
