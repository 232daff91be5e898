"""More collectives and groups, under the names that fairseq users call; in a single process they are the identity."""

from typing import Any, Optional

import torch
from torch import Tensor
from torch import distributed as dist

from fairseq.distributed.collectives import broadcast_object, get_global_rank, get_rank, get_world_size


def new_groups(grouped_ranks: list[list[int]]) -> Any:
    """Make a process group of each list of ranks; returns this process's own."""
    groups = [dist.new_group(ranks) for ranks in grouped_ranks]
    return groups[_find_my_group_index(grouped_ranks)]


def _find_my_group_index(grouped_ranks: list[list[int]]) -> int:
    rank = get_global_rank()
    for index, ranks in enumerate(grouped_ranks):
        if rank in ranks:
            return index
    raise RuntimeError(f"rank {rank} is in none of the groups {grouped_ranks}")


def _find_my_group(grouped_ranks: list[list[int]]) -> list[int]:
    return grouped_ranks[_find_my_group_index(grouped_ranks)]


def get_model_parallel_group() -> Optional[Any]:
    """None: no model is spread over several processes."""
    return None


def get_model_parallel_rank() -> int:
    return 0


def get_model_parallel_world_size() -> int:
    return 1


def use_xla() -> bool:
    """False: no TPUs."""
    return False


def all_gather(tensor: Tensor, group: Optional[Any] = None, return_tensor: bool = False) -> Any:
    """`tensor` of every process, by rank: a list, or stacked."""
    gathered = [tensor]
    if get_world_size(group) > 1:
        gathered = [torch.empty_like(tensor) for _ in range(get_world_size(group))]
        dist.all_gather(gathered, tensor.contiguous(), group=group)
    return torch.stack(gathered) if return_tensor else gathered


def all_to_all(tensor: Tensor, group: Optional[Any] = None) -> Tensor:
    """Piece r of every process's `tensor` (N,), in process r; N is a multiple of the number of processes."""
    world_size = get_world_size(group)
    if world_size == 1:
        return tensor
    if tensor.dim() != 1 or len(tensor) % world_size:
        raise ValueError(f"all_to_all takes one dimension, a multiple of {world_size}, not {tuple(tensor.shape)}")
    # gloo has no all_to_all: every process sees all and keeps its column
    return all_gather(tensor.view(world_size, -1), group, return_tensor=True)[:, get_rank(group)].flatten()


def broadcast_tensors(
    tensors: Optional[list[Tensor]], src_rank: int, group: Optional[Any] = None, dist_device: Any = None
) -> list[Tensor]:
    """`tensors` of rank `src_rank`, in every process; others give None."""
    sent = broadcast_object([tensor.cpu() for tensor in tensors or ()], src_rank, group)
    device = dist_device if dist_device is not None else "cpu"
    return list(tensors or ()) if get_rank(group) == src_rank else [tensor.to(device) for tensor in sent]


def _broadcast_object_slow(obj: Any, src_rank: int, group: Any, dist_device: Any = None) -> Any:
    return broadcast_object(obj, src_rank, group)
