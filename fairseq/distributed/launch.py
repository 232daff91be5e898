"""Run a command's `main(cfg)` in as many processes as the config or the environment asks for.

Who starts the processes:
- `torchrun` or any launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT: this process is one rank of its
  group;
- a Slurm step of several tasks (`srun -n 2`): likewise, the first node of the job is the meeting point;
- otherwise `distributed_training.distributed_world_size` > 1: this process becomes rank 0 and starts the others on
  this machine. For a pipeline, it is as many as it has stages, unless it is set.

The size of a group started by a launcher takes precedence over `distributed_world_size`: a run that ignored it would
be N separate runs writing to one folder.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, Optional

from fairseq.dataclass.devices import count_gpus, place_in_group, started_by_torchrun
from fairseq.distributed.membership import Membership, run_member
from fairseq.distributed.pipeline.schedules import processes_for
from fairseq.errors import ConfigError


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


def call_main(cfg: Any, main: Callable[..., Any], **kwargs: Any) -> Any:
    """Call `main(cfg, **kwargs)` in every process of the run and return what it returned in this one."""
    distributed = cfg.distributed_training
    member = membership_from_environment(distributed)
    if member is not None and member.world_size > 1:
        return run_member(cfg, member, main, kwargs)
    if distributed.pipeline_model_parallel and distributed.distributed_world_size == 1:
        distributed.distributed_world_size = processes_for(
            distributed.pipeline_balance or "", str(distributed.pp_schedule)
        )
    if distributed.distributed_world_size > 1:
        if distributed.distributed_no_spawn:
            raise ConfigError(
                "distributed_training.distributed_no_spawn=true: nothing starts the other processes of "
                f"distributed_world_size={distributed.distributed_world_size}; start all of them with torchrun, srun "
                "or distributed_init_method, or set distributed_world_size=1"
            )
        from fairseq.distributed.workers import run_with_workers

        return run_with_workers(cfg, main, kwargs)
    return main(cfg, **kwargs)
