"""Run a command's `main(cfg)` in as many processes as the config or the environment asks for.

Who starts the processes:
- `torchrun` or any launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT: this process is one rank of its
  group;
- a Slurm step of several tasks (`srun -n 2`): likewise, the first node of the job is the meeting point;
- otherwise `distributed_training.distributed_world_size` > 1: this process becomes rank 0 and starts the others on
  this machine.

A group that somebody else started counts over `distributed_world_size`, because a run that ignored it would be N
separate runs writing to one folder.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional

from fairseq.dataclass.devices import count_gpus, place_in_group, started_by_torchrun
from fairseq.distributed.failures import Failures
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
    rank, world_size = place_in_group(environ)
    if started_by_torchrun(environ):
        return Membership(rank, world_size, int(environ.get("LOCAL_RANK", rank)), "env://")
    if world_size > 1:
        return _slurm_membership(cfg, environ, rank, world_size)
    if cfg.distributed_init_method is not None and cfg.distributed_world_size > 1:
        return Membership(cfg.distributed_rank, cfg.distributed_world_size, cfg.device_id, cfg.distributed_init_method)
    return None


def _slurm_membership(cfg: Any, environ: Mapping[str, str], rank: int, world_size: int) -> Membership:
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "localhost"
    # without a port in the config, one that all tasks of the job agree on and other jobs are unlikely to use
    port = cfg.distributed_port if cfg.distributed_port > 0 else 20000 + int(environ.get("SLURM_JOB_ID", 0)) % 20000
    return Membership(
        rank=rank,
        world_size=world_size,
        # with --gpus-per-task=1, each task sees its own GPU as number 0
        local_rank=0 if count_gpus() == 1 else int(environ.get("SLURM_LOCALID", 0)),
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


def join_group(cfg: Any, member: Membership, use_gpu: bool) -> Any:
    """Initialise torch's process group for this process; returns the group's key-value store.

    Args:
        cfg: the `distributed_training` group; gets this process's rank, world size and device.
        use_gpu: exchange tensors by `distributed_backend` (nccl); else by gloo.

    Raises:
        ConfigError: the other processes cannot be reached.
    """
    import torch
    from torch import distributed as dist

    cuda = use_gpu and torch.cuda.is_available()
    if cuda:
        if member.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"rank {member.rank} wants GPU {member.local_rank}, but {torch.cuda.device_count()} are visible; "
                "start as many processes per machine as it has GPUs, or train on the CPU with common.cpu=true"
            )
        torch.cuda.set_device(member.local_rank)
    # gloo waits for its peers this long; a peer that died is noticed at once by its closed connection
    timeout = timedelta(minutes=30)
    try:
        store, rank, world_size = next(
            dist.rendezvous(member.init_method, member.rank, member.world_size, timeout=timeout)
        )
        dist.init_process_group(
            cfg.distributed_backend if cuda and cfg.distributed_backend else "gloo",
            store=dist.PrefixStore("group", store),
            world_size=world_size,
            rank=rank,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"rank {member.rank} cannot join the process group at {member.init_method}: {str(error).splitlines()[0]}"
        ) from error
    cfg.distributed_world_size, cfg.distributed_rank, cfg.device_id = member.world_size, member.rank, member.local_rank
    dist.barrier()
    return dist.PrefixStore("failures", store)


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


def _run_member(
    cfg: Any,
    member: Membership,
    main: Callable[..., Any],
    kwargs: dict[str, Any],
    explain: Optional[Callable[[], Optional[str]]] = None,
    on_join: Optional[Callable[[Failures], None]] = None,
) -> Any:
    """`main` in this process as one rank of a group; see `Failures` for how it ends when one of them fails."""
    from torch import distributed as dist

    from fairseq.distributed.collectives import broadcast_object

    if member.rank != 0:
        silence()
    store = join_group(cfg.distributed_training, member, use_gpu=not cfg.common.cpu)
    failures = Failures(store, member.rank, member.world_size, explain)
    if on_join is not None:
        on_join(failures)
    try:
        # a launcher's processes start seconds apart: a folder named by the time differs, and rank 0's counts
        cfg.checkpoint.save_dir = broadcast_object(cfg.checkpoint.save_dir)
        result = main(cfg, **kwargs)
    except KeyboardInterrupt:
        if member.rank != 0:
            sys.exit(130)
        raise
    except Exception as error:
        # the launcher ends the other processes as soon as one has failed; this one has something to say first
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise failures.settle(error) from error.__cause__
    dist.destroy_process_group()
    return result


def silence() -> None:
    """Only rank 0 reports: what the other ranks would say is the same."""
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
