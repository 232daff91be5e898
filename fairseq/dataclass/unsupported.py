"""Settings of fairseq that are accepted and not built: none of them is ignored in silence.

`REFUSED` would change what a run computes, so setting one is an error; `WITHOUT_EFFECT` changes speed, memory or what
is shown, so setting one is a warning, and the command runs. Both count only where a value differs from the default, so
that files which spell out fairseq's defaults read as they are. A key is `group.field`, or a whole group.

To build a setting, delete its line here; `tests/dataclass/test_unsupported.py` finds fields that nothing reads.

>>> from fairseq.dataclass.typed import typed_config
>>> check_supported(typed_config({"optimization": {"use_bmuf": True}}))
Traceback (most recent call last):
...
fairseq.errors.ConfigError: optimization.use_bmuf=True is not supported (block-wise model updates); leave it out
>>> check_supported(typed_config({"optimization": {"use_bmuf": False}}))
"""

import logging
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fairseq.dataclass import schema
from fairseq.errors import ConfigError

logger = logging.getLogger("fairseq.config")

_TWO_PASSES = "models that generate in two passes"

REFUSED: dict[str, str] = {
    "common.model_parallel_size": "layers spread over several GPUs",
    "checkpoint.model_parallel_size": "layers spread over several GPUs",
    "common.quantization_config_path": "product quantization; for integer formats choose quantization=int8",
    "optimization.use_bmuf": "block-wise model updates",
    "model.base_layers": "experts spread over several GPUs",
    "model.decoder_xformers_att_config": "attention of the xformers library",
    "task.baseline_model": "languages drawn by a model's losses",
    "task.baseline_model_langs": "languages drawn by a model's losses",
    "task.lang_to_offline_shard_ratio": "shares of languages that other folders hold",
    "optimizer.dynamic_groups": "groups by settings that single parameters bring",
    "generation.decoding_format": "ways to join the outputs of refining models",
    "generation.beam_mt": _TWO_PASSES,
    "generation.max_len_a_mt": _TWO_PASSES,
    "generation.max_len_b_mt": _TWO_PASSES,
    "generation.lenpen_mt": _TWO_PASSES,
    "generation.eos_token": "outputs end in the dictionary's end of sentence",
}

_SHOWN = "the run's other trackers are common.tensorboard_logdir and common.wandb_project"
_GENERATES = "only commands that generate or score text would read it"  # so where no model is chosen, it is read
_SHARDS = "only ddp_backend=fully_sharded would read it, which is not supported"
_SLOWMO = "only ddp_backend=slowmo would read it, which is not supported"
_PIPELINE = "pipeline_balance has the layers of encoder and decoder, and the rank of a process says its device"
_BMUF = "only optimization.use_bmuf would read it, which is not supported"
_PROCESSES = "a command starts distributed_world_size processes, or one where distributed_init_method is given"
_EXPERTS = "only base_layers would read it, which is not supported"
_IN_DATASET = "set the field of the same name in dataset"
_FOLLOWS = "set the field of the same name in common"

WITHOUT_EFFECT: dict[str, str] = {
    "common.aim_repo": _SHOWN,
    "common.aim_run_hash": _SHOWN,
    "common.fp16_no_flatten_grads": "gradients are never flattened",
    "common.on_cpu_convert_precision": "inputs are converted on the device",
    "common.all_gather_list_size": "there is no buffer to size",
    "common.profile": "use torch.profiler around the command",
    "common.use_plasma_view": "indices are mapped from their files, which processes share anyway",
    "common.plasma_path": "indices are mapped from their files, which processes share anyway",
    "common_eval.post_process": _GENERATES,
    "common_eval.quiet": _GENERATES,
    "common_eval.results_path": _GENERATES,
    "dataset.gen_subset": _GENERATES,
    "dataset.num_shards": _GENERATES,
    "dataset.shard_id": _GENERATES,
    "dataset.required_seq_len_multiple": "this task does not pad to a multiple of a length",
    "generation": _GENERATES,
    "eval_lm": _GENERATES,
    "interactive": _GENERATES,
    "distributed_training.distributed_num_procs": _PROCESSES,
    "distributed_training.fast_stat_sync": "criterions say themselves how to sum logs",
    "distributed_training.heartbeat_timeout": "a run that hangs is not ended",
    "distributed_training.fp16": _FOLLOWS,
    "distributed_training.memory_efficient_fp16": _FOLLOWS,
    "distributed_training.tpu": _FOLLOWS,
    "distributed_training.slowmo_momentum": _SLOWMO,
    "distributed_training.slowmo_base_algorithm": _SLOWMO,
    "distributed_training.localsgd_frequency": _SLOWMO,
    "distributed_training.nprocs_per_node": _SLOWMO,
    "distributed_training.pipeline_devices": _PIPELINE,
    "distributed_training.pipeline_encoder_balance": _PIPELINE,
    "distributed_training.pipeline_encoder_devices": _PIPELINE,
    "distributed_training.pipeline_decoder_balance": _PIPELINE,
    "distributed_training.pipeline_decoder_devices": _PIPELINE,
    "distributed_training.pipeline_checkpoint": "no micro-batch recomputes its activations",
    "distributed_training.zero_sharding": "every process keeps the whole optimizer state",
    "distributed_training.no_reshard_after_forward": _SHARDS,
    "distributed_training.fp32_reduce_scatter": _SHARDS,
    "distributed_training.cpu_offload": _SHARDS,
    "distributed_training.use_sharded_state": _SHARDS,
    "distributed_training.not_fsdp_flatten_parameters": _SHARDS,
    "bmuf": _BMUF,
    "optimization.debug_param_names": "optimizers get no parameter names",
    "checkpoint.load_checkpoint_on_all_dp_ranks": "every process reads the file anyway",
    "model.min_params_to_wrap": _SHARDS,
    "model.export": "there is no other attention for exported models",
    "model.base_sublayers": _EXPERTS,
    "model.base_shuffle": _EXPERTS,
    "model.tpu": _FOLLOWS,
    "task.tpu": _FOLLOWS,
    "task.data_buffer_size": _IN_DATASET,
    "task.use_plasma_view": _FOLLOWS,
    "task.plasma_path": _FOLLOWS,
    "task.valid_subset": "set dataset.valid_subset",
    "criterion.tpu": _FOLLOWS,
    "optimizer.tpu": _FOLLOWS,
}


def check_supported(cfg: DictConfig) -> None:
    """Warn about the settings in the resolved root config `cfg` that have no effect, one line for each reason.

    Raises:
        ConfigError: one that would change what the run computes.
    """
    for path, reason in REFUSED.items():
        for setting in _set_in(cfg, path):
            raise ConfigError(f"{setting} is not supported ({reason}); leave it out")
    found: dict[str, list[str]] = {}
    trains = not OmegaConf.is_missing(cfg, "model") and cfg.get("model") is not None
    read_by_task = _followed_by_task(cfg)
    for path, reason in WITHOUT_EFFECT.items():
        if path in read_by_task or (reason is _GENERATES and not trains):
            continue
        for setting in _set_in(cfg, path):
            found.setdefault(reason, []).append(setting)
    for reason, settings in found.items():
        logger.warning(f"{', '.join(settings)} {'has' if len(settings) == 1 else 'have'} no effect: {reason}")


def _followed_by_task(cfg: DictConfig) -> set[str]:
    """`group.field` of the settings that the task reads, through fields of its own that follow them."""
    dataclass = schema.dataclass_of_node(cfg._get_node("task"))
    declared = schema.keys_of(dataclass) if dataclass is not None else {}
    read = [field for key, field in declared.items() if f"task.{key}" not in WITHOUT_EFFECT]
    followed = [schema.followed(schema.default_of(field)) for field in read]
    return {".".join(path) for path in followed if path is not None}


def _set_in(cfg: DictConfig, path: str) -> Iterator[str]:
    """`group.field=value` of the fields at `path`, a field or a whole group, that differ from their defaults."""
    group, _, key = path.partition(".")
    node: Any = cfg._get_node(group)
    dataclass = schema.dataclass_of_node(node)
    if dataclass is None:
        return
    declared = schema.keys_of(dataclass)
    for name in [key] if key else declared:
        if name not in declared or name not in node:
            continue
        default = _default(cfg, schema.default_of(declared[name]))
        if node[name] != default and not (path in _SAME_AS and node[name] == OmegaConf.select(cfg, _SAME_AS[path])):
            yield f"{group}.{name}={node[name]}"


# what a setting may also be without asking for anything that does not happen
_SAME_AS = {"distributed_training.distributed_num_procs": "distributed_training.distributed_world_size"}


def _default(cfg: DictConfig, default: Any) -> Any:
    """A field's default in this config, in which it may follow another field."""
    followed = re.fullmatch(r"\$\{([\w.]+)\}", default) if isinstance(default, str) else None
    return OmegaConf.select(cfg, followed[1]) if followed is not None else default
