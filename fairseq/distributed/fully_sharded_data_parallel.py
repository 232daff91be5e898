"""fairseq's names around sharded data parallelism by fairscale, which is not used here.

Models call `fsdp_wrap` on their layers whether or not there is sharding; without, it returns them as they are.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Optional

from torch import nn

from fairseq.errors import ConfigError

has_FSDP = False
_INSTEAD = "sharded data parallelism (fully_sharded) is not supported; choose another distributed_training.ddp_backend"


class DummyProcessGroup:
    """A rank and a size, of a group that is never used."""

    def __init__(self, rank: int, size: int):
        self._rank, self._size = rank, size

    def rank(self) -> int:
        return self._rank

    def size(self) -> int:
        return self._size


class FullyShardedDataParallel(nn.Module):
    """Refuses to be made."""

    def __init__(self, *args: Any, use_sharded_state: bool = False, **kwargs: Any):
        raise ConfigError(_INSTEAD)


@contextlib.contextmanager
def fsdp_enable_wrap(cfg: Any) -> Iterator[None]:
    """A block in which `fsdp_wrap` shards; refused."""
    raise ImportError(_INSTEAD)
    yield


def fsdp_wrap(module: nn.Module, min_num_params: Optional[int] = None, **kwargs: Any) -> nn.Module:
    """`module` as it is."""
    return module
