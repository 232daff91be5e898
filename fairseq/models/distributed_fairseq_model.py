"""A model in data-parallel training, by `distributed_training.ddp_backend`."""

from typing import Any

import torch
from torch import nn

from fairseq.distributed.legacy_distributed_data_parallel import LegacyDistributedDataParallel
from fairseq.distributed.module_proxy_wrapper import ModuleProxyWrapper
from fairseq.errors import ConfigError


def DistributedFairseqModel(args: Any, model: nn.Module, process_group: Any, device: Any) -> nn.Module:
    """`model` that averages gradients over `process_group`; its attributes can be read from the result.

    Args:
        args: the `distributed_training` group.

    Raises:
        ConfigError: a backend that is not supported.
    """
    model = model.to(device)
    if args.ddp_backend in ("c10d", "pytorch_ddp"):
        on_gpu = torch.device(device).type == "cuda"
        wrapped: nn.Module = nn.parallel.DistributedDataParallel(
            model,
            device_ids=[args.device_id] if on_gpu else None,
            output_device=args.device_id if on_gpu else None,
            broadcast_buffers=args.broadcast_buffers,
            bucket_cap_mb=args.bucket_cap_mb,
            process_group=process_group,
            find_unused_parameters=args.find_unused_parameters,
            gradient_as_bucket_view=args.gradient_as_bucket_view,
        )
    elif args.ddp_backend in ("no_c10d", "legacy_ddp"):
        wrapped = LegacyDistributedDataParallel(model, process_group=process_group)
    else:
        raise ConfigError(
            f"distributed_training.ddp_backend={args.ddp_backend} is not supported; take pytorch_ddp or legacy_ddp"
        )
    return ModuleProxyWrapper(wrapped)
