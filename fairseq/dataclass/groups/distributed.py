"""`distributed_training` and `bmuf`: how many processes train together and how they exchange gradients.

>>> DistributedTrainingConfig().ddp_backend == "pytorch_ddp"
True
"""

import os
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.constants import (
    DDP_BACKEND_CHOICES,
    DDP_COMM_HOOK_CHOICES,
    PIPELINE_CHECKPOINT_CHOICES,
    ZERO_SHARDING_CHOICES,
)
from fairseq.dataclass.devices import count_gpus
from fairseq.dataclass.ranges import above, at_least, below_one, between


def _one_per_gpu() -> int:
    return max(1, count_gpus())


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0") or 0)


def _measured(factory, help: str, **metadata: Any) -> Any:
    """A count whose default is looked up when a config is made, not when this file is imported."""
    return field(default_factory=factory, metadata={"help": help, "within": at_least(1), **metadata})


@dataclass
class DistributedTrainingConfig(FairseqDataclass):
    """How processes find each other and share the work."""

    # who takes part
    distributed_world_size: int = _measured(_one_per_gpu, "processes that train together; default: one per visible GPU")
    distributed_num_procs: Optional[int] = _measured(
        _one_per_gpu, "processes to start on this machine; default: one per visible GPU"
    )
    distributed_rank: Optional[int] = option(0, "number of this process, 0 ... world size - 1", within=at_least(0))
    distributed_backend: str = option("nccl", "torch.distributed backend; gloo is taken if there is no GPU")
    distributed_init_method: Optional[str] = option(
        None, "address where the processes meet, such as tcp://host:port or file://path"
    )
    distributed_port: int = option(-1, "port for the meeting point under Slurm", within=between(0, 65535, also=-1))
    device_id: int = _measured(
        _local_rank,
        "number of the GPU that this process uses; default: the LOCAL_RANK variable, else 0",
        argparse_alias=["--local_rank"],
        within=at_least(0),
    )
    distributed_no_spawn: bool = option(False, "do not start processes although several GPUs are visible")

    # data parallel
    ddp_backend: DDP_BACKEND_CHOICES = option(
        DDP_BACKEND_CHOICES.pytorch_ddp, "how gradients are averaged (c10d and no_c10d are older names)"
    )
    ddp_comm_hook: DDP_COMM_HOOK_CHOICES = option(
        DDP_COMM_HOOK_CHOICES.none, "compress gradients while they are exchanged; _ef: with error feedback"
    )
    bucket_cap_mb: int = option(25, "gradients are exchanged in buckets of about this many MB", within=at_least(1))
    fix_batches_to_gpus: bool = option(False, "deal the same batches to the same GPU in every epoch")
    find_unused_parameters: bool = option(
        False, "look for parameters that had no part in the loss (models with unused heads need it)"
    )
    gradient_as_bucket_view: bool = option(False, "let gradients share memory with the buckets they travel in")
    fast_stat_sync: bool = option(False, "deprecated and without effect: criterions say themselves how to sum logs")
    heartbeat_timeout: int = option(
        -1, "end the run when no update finishes within this many seconds (-1: never)", within=at_least(0, also=-1)
    )
    broadcast_buffers: bool = option(False, "copy buffers such as batch-norm statistics from rank 0 before each update")

    # local SGD with slow momentum
    slowmo_momentum: Optional[float] = option(
        None, "slow momentum; default: by world size, 0.0 up to 0.6", within=between(0, 1)
    )
    slowmo_base_algorithm: str = option("localsgd", "the algorithm under slow momentum: localsgd or sgp")
    localsgd_frequency: int = option(3, "updates between two averagings of the local models", within=at_least(1))
    nprocs_per_node: int = _measured(_one_per_gpu, "GPUs per machine, all of which hold one copy of the local model")

    # pipeline parallel
    pipeline_model_parallel: bool = option(False, "spread the layers of one model over several processes")
    pipeline_balance: Optional[str] = option(
        None, "layers of each stage, such as 6,6, those of an encoder first; their sum is the number of layers"
    )
    pipeline_devices: Optional[str] = option(None, "GPU numbers in the order of pipeline_balance")
    pipeline_chunks: Optional[int] = option(0, "micro-batches that a batch is cut into", within=at_least(0))
    pp_schedule: str = option(
        "1f1b",
        "in which order stages work on micro-batches: gpipe, 1f1b, interleaved, looped_bfs, interleaved_zero_bubble, "
        "zbv, dualpipev",
    )
    pp_codec_fwd: Optional[str] = option(
        None, "codec of activations between stages, such as group:4,64 (docs/communication.md); none: fp32"
    )
    pp_codec_bwd: Optional[str] = option(None, "codec of gradients between stages, such as group:8,64,sr; none: fp32")
    pp_report: bool = option(
        False, "at the end, log the bytes and times of each boundary; pipeline_report.json in save_dir has them, too"
    )
    pipeline_encoder_balance: Optional[str] = option(None, "as pipeline_balance, for the encoder")
    pipeline_encoder_devices: Optional[str] = option(None, "as pipeline_devices, for the encoder")
    pipeline_decoder_balance: Optional[str] = option(None, "as pipeline_balance, for the decoder")
    pipeline_decoder_devices: Optional[str] = option(None, "as pipeline_devices, for the decoder")
    pipeline_checkpoint: PIPELINE_CHECKPOINT_CHOICES = option(
        PIPELINE_CHECKPOINT_CHOICES.never, "which micro-batches recompute their activations in backward"
    )

    # sharding
    zero_sharding: ZERO_SHARDING_CHOICES = option(ZERO_SHARDING_CHOICES.none, "shard optimizer state over processes")
    fp16: bool = option(II("common.fp16"), "follows common.fp16")
    memory_efficient_fp16: bool = option(II("common.memory_efficient_fp16"), "follows common.memory_efficient_fp16")
    tpu: bool = option(II("common.tpu"), "follows common.tpu")
    no_reshard_after_forward: bool = option(False, "fully_sharded: keep gathered parameters until backward")
    fp32_reduce_scatter: bool = option(False, "fully_sharded: exchange gradients in fp32")
    cpu_offload: bool = option(False, "fully_sharded: keep parameters and optimizer state in CPU memory")
    use_sharded_state: bool = option(False, "fully_sharded: each process saves a checkpoint with its own shard")
    not_fsdp_flatten_parameters: bool = option(False, "fully_sharded: do not flatten a module's parameters into one")


@dataclass
class FairseqBMUFConfig(FairseqDataclass):
    """Blockwise model-update filtering; used where `optimization.use_bmuf` is set."""

    block_lr: float = option(1, "learning rate of the block update", within=above(0))
    block_momentum: float = option(0.875, "momentum of the block update", within=below_one())
    global_sync_iter: int = option(50, "updates between two synchronisations", within=at_least(1))
    warmup_iterations: int = option(500, "updates at the start that synchronise every time", within=at_least(0))
    use_nbm: bool = option(False, "use Nesterov momentum for the block update")
    average_sync: bool = option(False, "plain averaging at each synchronisation, without block momentum")
    distributed_world_size: int = option(
        II("distributed_training.distributed_world_size"), "follows distributed_training.distributed_world_size"
    )
