"""Joining a process group step by step, as launchers of one's own do; `call_main` does all of it.

infer_init_method(cfg.distributed_training)
cfg.distributed_training.distributed_rank = distributed_init(cfg)
"""

import os
from collections.abc import Callable
from typing import Any

from torch import distributed as dist

from fairseq.distributed.launch import membership_from_environment
from fairseq.distributed.membership import Membership, free_port, join_group, silence


def infer_init_method(cfg: Any, force_distributed: bool = False) -> None:
    """Fill in how the processes find each other, from torchrun, Slurm or for this machine alone, in place.

    Args:
        cfg: the `distributed_training` group; a `distributed_init_method` that it has stays.
        force_distributed: also for a single process.
    """
    if cfg.distributed_init_method is not None:
        return
    member = membership_from_environment(cfg)
    if member is not None:
        cfg.distributed_init_method, cfg.distributed_no_spawn = member.init_method, True
        cfg.distributed_world_size, cfg.distributed_rank = member.world_size, member.rank
        cfg.device_id = member.local_rank
    elif cfg.distributed_world_size > 1 or force_distributed:
        port = cfg.distributed_port if cfg.distributed_port > 0 else free_port()
        cfg.distributed_init_method = f"tcp://localhost:{port}"


def distributed_init(cfg: Any) -> int:
    """Join the group that `cfg.distributed_training` describes, unless this process has; returns the rank."""
    group = cfg.distributed_training
    if not dist.is_initialized():
        member = Membership(
            group.distributed_rank, group.distributed_world_size, group.device_id, group.distributed_init_method
        )
        join_group(group, member, use_gpu=not cfg.common.cpu)
    if dist.get_rank() != 0:
        silence()
    return dist.get_rank()


def distributed_main(i: int, main: Callable[..., Any], cfg: Any, kwargs: dict[str, Any]) -> None:
    """What process `i` of this machine does: join, call `main(cfg, **kwargs)`, leave."""
    group = cfg.distributed_training
    group.device_id = i
    if group.distributed_rank is None or not group.distributed_no_spawn:
        group.distributed_rank = kwargs.pop("start_rank", 0) + i
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    group.distributed_rank = distributed_init(cfg)
    after = kwargs.pop("after_distributed_init_fn", None)
    main(cfg if after is None else after(cfg), **kwargs)
    dist.barrier()
    dist.destroy_process_group()
