"""One process as a rank of a group: where it belongs, how it joins, and running `main` in it."""

import logging
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional

from fairseq.distributed.failures import Failures
from fairseq.errors import ConfigError


@dataclass
class Membership:
    """This process's place in a process group."""

    rank: int
    world_size: int
    local_rank: int
    init_method: str


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
                f"rank {member.rank} needs GPU {member.local_rank}, but {torch.cuda.device_count()} are visible; "
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


def run_member(
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
