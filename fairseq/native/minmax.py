"""The minimum and maximum of a tensor, cached with it: a kernel that writes a tensor sees both at no cost.

    cache_minmax(y, low, high)             # by the code that wrote y
    cached_minmax(y)                       # (low, high), or None where they are unknown

They are an attribute of the tensor, with its version counter: writing to the tensor makes them unknown, and a view or a
copy has none. Code that writes without increasing the counter (through `.data`, NumPy or a collective) calls
`invalidate`. Tensors of inference mode have no version counter; nothing is cached for them.

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
    """The cached extremes of this tensor object, if it has not been written to since; else None."""
    if torch.compiler.is_compiling():
        return None
    cached = getattr(x, _NAME, None)
    if cached is None or x.is_inference() or cached[:2] != (id(x), x._version):
        return None
    return cached[2], cached[3]


def invalidate(x: Tensor) -> None:
    """Drop what is cached for `x`."""
    if hasattr(x, _NAME):
        delattr(x, _NAME)
