"""Objects with tensors in them, taken apart and put together: the tensors travel on their own.

>>> tensors = []
>>> rest = _split_tensors_from_obj({"a": torch.ones(1), "b": [3]}, tensors)
>>> rest, _put_tensors_in_obj(rest, tensors)
({'a': _TensorPlaceholder(index=0), 'b': [3]}, {'a': tensor([1.]), 'b': [3]})
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _TensorPlaceholder:
    """Where a tensor was, and its number."""

    index: int


def _split_tensors_from_obj(obj: Any, tensors: list[Tensor]) -> Any:
    """`obj` with a placeholder for each tensor, which is added to `tensors`."""
    if torch.is_tensor(obj):
        tensors.append(obj)
        return _TensorPlaceholder(len(tensors) - 1)
    if isinstance(obj, dict):
        return {key: _split_tensors_from_obj(value, tensors) for key, value in obj.items()}
    if isinstance(obj, (list, tuple, set)):
        return type(obj)(_split_tensors_from_obj(value, tensors) for value in obj)
    return obj


def _put_tensors_in_obj(obj: Any, tensors: list[Tensor]) -> Any:
    """What `_split_tensors_from_obj` has taken apart."""
    if isinstance(obj, _TensorPlaceholder):
        return tensors[obj.index]
    if isinstance(obj, dict):
        return {key: _put_tensors_in_obj(value, tensors) for key, value in obj.items()}
    if isinstance(obj, (list, tuple, set)):
        return type(obj)(_put_tensors_in_obj(value, tensors) for value in obj)
    return obj
