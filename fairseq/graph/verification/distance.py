"""How far results are from one another: |y - reference| / |reference| over all floating-point numbers in them.

>>> distance((torch.tensor([3.0, 4.5]), "a name"), {"y": torch.tensor([3.0, 4.0])})
0.1
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def distance(y: Any, reference: Any) -> float:
    """0 where they are equal, NaN included; infinite where their sizes differ, or one alone is not finite."""
    a, b = flat(y), flat(reference)
    if a.shape != b.shape:
        return math.inf
    same = (a == b) | (a.isnan() & b.isnan())
    off = float(torch.where(same, 0.0, a - b).norm())
    if off == 0 or not math.isfinite(off):
        return off if off == 0 else math.inf
    return off / max(float(torch.where(b.isfinite(), b, 0.0).norm()), 1e-30)


def flat(value: Any) -> Tensor:
    """The numbers of a result, one after another, fp64."""
    return torch.cat([part.detach().double().flatten().cpu() for part in numbers(value)] or [torch.zeros(0)])


def numbers(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a result."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from numbers(part)
    elif is_dataclass(value):
        yield from numbers([getattr(value, field.name) for field in fields(value)])


def coarseness(value: Any) -> float:
    """How much coarser than fp32 the types in a result are."""
    return max((torch.finfo(part.dtype).eps for part in numbers(value)), default=0.0) / torch.finfo(torch.float32).eps


def kept(value: Any) -> Any:
    """Arguments as they are now: who is called may write into them."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: kept(part) for key, part in value.items()}
    return type(value)(kept(part) for part in value) if type(value) in (tuple, list) else value
