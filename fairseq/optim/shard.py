"""fairseq's hook that shards an optimizer's state over processes by fairscale, which is not used here."""

from typing import Any

from fairseq.errors import ConfigError


def shard_(optimizer: Any, group: Any) -> None:
    """Refused: every process keeps the whole optimizer state."""
    raise ConfigError("distributed_training.zero_sharding=os is not supported; leave it out")
