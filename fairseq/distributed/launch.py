"""Run a command's `main(cfg)` in as many processes as the config or the environment asks for.

Who starts the processes:
- `torchrun` or any launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT: this process is one rank of its
  group;
- Slurm with several tasks (SLURM_NTASKS > 1): likewise, the first node of the job is the meeting point;
- otherwise `distributed_training.distributed_world_size` > 1: this process becomes rank 0 and starts the others on
  this machine.

A group that somebody else started counts over `distributed_world_size`, because a run that ignored it would be N
separate runs writing to one folder.
"""

import logging
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional

from fairseq.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass
class Membership:
    """This process's place in a process group."""

    rank: int
    world_size: int
    local_rank: int
    init_method: str


def membership_from_environment(cfg: Any, environ: Mapping[str, str] = os.environ) -> Optional[Membership]:
    """The place that torchrun, Slurm or `distributed_init_method` give this process; None without any of them.

    Args:
        cfg: the `distributed_training` group.
    """
    if all(key in environ for key in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        rank = int(environ["RANK"])
        return Membership(rank, int(environ["WORLD_SIZE"]), int(environ.get("LOCAL_RANK", rank)), "env://")
    if int(environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in environ:
        return _slurm_membership(cfg, environ)
    if cfg.distributed_init_method is not None and cfg.distributed_world_size > 1:
        return Membership(cfg.distributed_rank, cfg.distributed_world_size, cfg.device_id, cfg.distributed_init_method)
    return None


def _slurm_membership(cfg: Any, environ: Mapping[str, str]) -> Membership:
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "localhost"
    # without a port in the config, one that all tasks of the job agree on and other jobs are unlikely to use
    port = cfg.distributed_port if cfg.distributed_port > 0 else 20000 + int(environ.get("SLURM_JOB_ID", 0)) % 20000
    return Membership(
        rank=int(environ["SLURM_PROCID"]),
        world_size=int(environ["SLURM_NTASKS"]),
        local_rank=int(environ.get("SLURM_LOCALID", 0)),
        init_method=f"tcp://{_first_host(nodes)}:{port}",
    )


def _first_host(nodes: str) -> str:
    """The first host of a Slurm node list (`node[03-07,12]`), by `scontrol` where it exists, else from the text."""
    try:
        listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        return listed.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        prefix, bracket, rest = nodes.partition("[")
        if not bracket:
            return nodes.split(",")[0]
        return prefix + rest.split("]")[0].split(",")[0].split("-")[0]


def join_group(cfg: Any, member: Membership) -> None:
    """Initialise torch's process group for this process; gloo on CPU, `distributed_backend` (nccl) on GPU."""
    import torch
    from torch import distributed as dist

    backend = cfg.distributed_backend if torch.cuda.is_available() and cfg.distributed_backend else "gloo"
    # gloo waits for its peers this long; a peer that died is noticed at once by its closed connection
    timeout = timedelta(minutes=30)
    try:
        dist.init_process_group(
            backend,
            init_method=member.init_method,
            world_size=member.world_size,
            rank=member.rank,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"rank {member.rank} cannot join the process group at {member.init_method}: {str(error).splitlines()[0]}"
        ) from error
    cfg.distributed_world_size, cfg.distributed_rank, cfg.device_id = member.world_size, member.rank, member.local_rank
    if member.rank != 0:
        logging.getLogger().setLevel(logging.WARNING)
    dist.barrier()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def call_main(cfg: Any, main: Callable[..., Any], **kwargs: Any) -> Any:
    """Call `main(cfg, **kwargs)` in every process of the run and return what it returned in this one."""
    distributed = cfg.distributed_training
    member = membership_from_environment(distributed)
    if member is not None and member.world_size > 1:
        return _run_member(cfg, member, main, kwargs)
    if distributed.distributed_world_size > 1:
        from fairseq.distributed.workers import run_with_workers

        return run_with_workers(cfg, main, kwargs)
    return main(cfg, **kwargs)


def _run_member(cfg: Any, member: Membership, main: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    from torch import distributed as dist

    from fairseq.distributed.collectives import broadcast_object

    join_group(cfg.distributed_training, member)
    # a launcher's processes start seconds apart, so a folder named by the time differs between them: rank 0's counts
    cfg.checkpoint.save_dir = broadcast_object(cfg.checkpoint.save_dir)
    try:
        return main(cfg, **kwargs)
    finally:
        dist.destroy_process_group()
