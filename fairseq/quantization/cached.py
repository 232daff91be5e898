"""Caches of what functions compute from numbers, with tensors that have data in any case.

    cached_constant     of results that are numbers, or tensors whose numbers are read: made outside of all modes
    cached_tensors      of tensors that operations take part in: not used while a mode is active

While a model is traced without data, torch makes every new tensor a fake one. What a cache kept of it would be of no
use afterwards, and operations of the trace take no tensors with data.

>>> @cached_constant(maxsize=2)
... def third(of: float) -> float:
...     return (torch.tensor(of) / 3).item()
>>> third(1.5), third(1.5)
(0.5, 0.5)
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode

Function = TypeVar("Function", bound=Callable[..., Any])


def cached_constant(maxsize: int) -> Callable[[Function], Function]:
    """Decorator: `functools.lru_cache`, outside of all modes that change what making a tensor means."""

    def decorate(function: Function) -> Function:
        @functools.lru_cache(maxsize=maxsize)
        @functools.wraps(function)
        def real(*args: Any) -> Any:
            if torch.compiler.is_dynamo_compiling():  # which looks through the cache
                return function(*args)
            with _disable_current_modes():
                return function(*args)

        return cast(Function, real)

    return decorate


def cached_tensors(maxsize: int) -> Callable[[Function], Function]:
    """Decorator: `functools.lru_cache`, which modes that change what making a tensor means neither fill nor see."""

    def decorate(function: Function) -> Function:
        cached = functools.lru_cache(maxsize=maxsize)(function)

        @functools.wraps(function)
        def real(*args: Any) -> Any:
            if torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None:
                return function(*args)
            return cached(*args)

        return cast(Function, real)

    return decorate
