"""`common`: logging, seed, number formats and other settings that concern the whole run.

>>> CommonConfig().log_interval
100
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.constants import LOG_FORMAT_CHOICES
from fairseq.dataclass.ranges import SEEDS, at_least, between


@dataclass
class CommonConfig(FairseqDataclass):
    """Settings of the whole run."""

    # what the run prints and where
    no_progress_bar: bool = option(False, "print plain log lines instead of a progress bar")
    log_interval: int = option(
        100, "print training statistics every this many updates, when no progress bar is shown", within=at_least(1)
    )
    point_errors_interval: int = option(
        0,
        "record the errors of every quantizer each this many updates, in point_errors.jsonl of save_dir (0: never)",
        within=at_least(0),
    )
    count_bitops: bool = option(
        False, "count bit operations of a model in full precision, too; a quantized one always counts them"
    )
    log_format: Optional[LOG_FORMAT_CHOICES] = option(
        None, "layout of progress output; default: tqdm on a terminal, simple elsewhere"
    )
    log_file: Optional[str] = option(None, "also write the log to this file", path="out")
    aim_repo: Optional[str] = option(None, "path of the Aim repository that receives the metrics")
    aim_run_hash: Optional[str] = option(None, "hash of the Aim run to continue; a new run is made without it")
    tensorboard_logdir: Optional[str] = option(
        None, "folder for TensorBoard event files; none are written without it", path="out"
    )
    wandb_project: Optional[str] = option(None, "Weights & Biases project that receives the metrics")
    azureml_logging: Optional[bool] = option(False, "send scalars to the AzureML run that this process belongs to")

    # randomness and device
    seed: int = option(1, "seed of initialisation, dropout, shuffling and masking", within=SEEDS)
    cpu: bool = option(False, "use the CPU although there is a GPU")
    tpu: bool = option(False, "run on TPU (not supported; kept so that fairseq's configs read)")

    # 16-bit training
    bf16: bool = option(False, "train in bfloat16 with a master copy of the weights in fp32")
    memory_efficient_bf16: bool = option(False, "train in bfloat16 without the fp32 master copy; implies bf16")
    fp16: bool = option(False, "train in float16 with loss scaling; without a GPU: a warning, and fp32")
    memory_efficient_fp16: bool = option(False, "train in float16 without the fp32 master copy; implies fp16")
    fp16_no_flatten_grads: bool = option(False, "keep one fp32 master tensor per parameter instead of one flat tensor")
    fp16_init_scale: int = option(2**7, "loss scale of the first fp16 update", within=at_least(1))
    fp16_scale_window: Optional[int] = option(
        None,
        "updates without overflow before the loss scale doubles; default: 2^14 / processes / update_freq",
        within=at_least(1),
    )
    fp16_scale_tolerance: float = option(
        0.0, "share of updates that may overflow before the loss scale is halved, between 0 and 1", within=between(0, 1)
    )
    on_cpu_convert_precision: bool = option(
        False, "convert floating-point inputs to 16 bits before they go to the device, not after"
    )
    min_loss_scale: float = option(
        1e-4, "training stops with an error when the fp16 loss scale falls below this", within=at_least(0)
    )
    threshold_loss_scale: Optional[float] = option(
        None, "the fp16 loss scale is never lowered below this", within=at_least(0)
    )
    amp: bool = option(False, "use torch's automatic mixed precision instead of converting the model")
    amp_batch_retries: int = option(2, "how often amp retries a batch whose gradients overflowed", within=at_least(0))
    amp_init_scale: int = option(2**7, "loss scale of the first amp update", within=at_least(1))
    amp_scale_window: Optional[int] = option(
        None, "updates without overflow before amp raises the loss scale", within=at_least(1)
    )

    compile: bool = option(False, "compile the model with torch.compile (takes a minute, pays in long runs)")

    # everything else
    user_dir: Optional[str] = option(
        None, "folder with your own tasks, models, criterions ...; imported as a package", path="in"
    )
    empty_cache_freq: int = option(
        0, "free the GPU allocator's cache every this many updates (0: never)", within=at_least(0)
    )
    all_gather_list_size: int = option(
        16384, "bytes each process reserves for statistics that are gathered as Python objects", within=at_least(1)
    )
    model_parallel_size: int = option(1, "GPUs that share one copy of the model", within=at_least(1))
    quantization_config_path: Optional[str] = option(None, "YAML file of fairseq's product quantization", path="in")
    profile: bool = option(False, "mark updates for the autograd profiler (nvtx ranges)")
    reset_logging: bool = option(
        False, "fairseq-hydra-train: use fairseq's log layout on the console instead of Hydra's layout and log file"
    )
    suppress_crashes: bool = option(
        False, "fairseq-hydra-train: log an exception and end normally, so that a sweep continues with its next job"
    )
    use_plasma_view: bool = option(False, "share dataset indices between processes through a plasma store")
    plasma_path: Optional[str] = option("/tmp/plasma", "socket of the plasma store")
