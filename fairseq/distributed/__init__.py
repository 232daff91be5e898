"""Data-parallel training: process groups, collectives, and starting the processes.

Names are imported from their modules when first used: most runs need none of them.
"""

import importlib
from typing import Any

_HOME = {
    "DistributedTimeoutWrapper": "distributed_timeout_wrapper",
    "FullyShardedDataParallel": "fully_sharded_data_parallel",
    "fsdp_enable_wrap": "fully_sharded_data_parallel",
    "fsdp_wrap": "fully_sharded_data_parallel",
    "LegacyDistributedDataParallel": "legacy_distributed_data_parallel",
    "ModuleProxyWrapper": "module_proxy_wrapper",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
