"""Collectives and process-group facts, each of them meaningful in a single process too.

Without an initialised process group every function behaves as a group of one, so callers need no special case:

>>> get_world_size(), get_rank(), all_reduce_dict({"loss": torch.tensor(2.0)})["loss"].item()
(1, 0, 2.0)
"""

from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor
from torch import distributed as dist


def is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_global_group() -> Optional[Any]:
    return dist.group.WORLD if is_initialized() else None


get_data_parallel_group = get_global_group


def get_rank(group: Optional[Any] = None) -> int:
    return dist.get_rank(group) if is_initialized() else 0


def get_world_size(group: Optional[Any] = None) -> int:
    return dist.get_world_size(group) if is_initialized() else 1


get_global_rank = get_data_parallel_rank = get_rank
get_global_world_size = get_data_parallel_world_size = get_world_size


def is_master(cfg: Any) -> bool:
    """True in the process that writes logs and checkpoints; `cfg` is the `distributed_training` group."""
    return get_rank() == 0 if is_initialized() else cfg.distributed_rank == 0


def all_reduce(tensor: Tensor, group: Optional[Any] = None, op: str = "sum") -> Tensor:
    """Sum (or `max`) of `tensor` over the group, in place."""
    if get_world_size(group) > 1:
        dist.all_reduce(tensor, op={"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}[op], group=group)
    return tensor


def barrier(device: Any = None, group: Optional[Any] = None) -> None:
    """Wait until every process is here."""
    all_reduce(torch.zeros(1, device=device), group)


def broadcast(tensor: Tensor, src: int, group: Optional[Any] = None) -> Tensor:
    if get_world_size(group) > 1:
        dist.broadcast(tensor, src=src, group=group)
    return tensor


def broadcast_object(value: Any, src_rank: int = 0, group: Optional[Any] = None) -> Any:
    """`value` of rank `src_rank`, in every process."""
    if get_world_size(group) == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=src_rank, group=group)
    return box[0]


def all_gather_list(data: Any, group: Optional[Any] = None, max_size: int = 16384) -> list[Any]:
    """`data` of every process, by rank. `max_size` is accepted for fairseq's callers; there is no limit here."""
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    gathered: list[Any] = [None] * world_size
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def all_reduce_dict(data: Mapping[str, Any], device: Any = None, group: Optional[Any] = None) -> dict[str, Any]:
    """Each value summed over the group, in one collective on fp64 for all of them."""
    if get_world_size(group) == 1:
        return dict(data)
    device = device if device is not None else torch.device("cpu")
    keys = list(data)
    values = torch.stack([torch.as_tensor(data[key], dtype=torch.float64, device=device) for key in keys])
    dist.all_reduce(values, group=group)
    return dict(zip(keys, values, strict=True))
