"""What a configuration says, as one dataclass; and MASE's settings that are understood and have no effect here.

model = "FILE.py:CALLABLE"              # or a checkpoint, a folder of transformers, jsc-tiny
inputs = ["input:float32[8,16]"]
load_name = "best.ckpt"                 # weights

[passes.quantize]                       # passes run in the order in which they stand here
by = "type"
[passes.quantize.linear.config]
name = "integer"
data_in_width = 8
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from fairseq.errors import ConfigError, unknown

LOAD_TYPES = ("auto", "pt", "pl", "safetensors", "hf")


@dataclass(frozen=True)
class TransformConfig:
    """A complete configuration.

    Attributes:
        model: what `fairseq.graph.sources.load_model` takes.
        inputs: descriptions as `input_ids:int64[2,11]`; without any a graph without shapes, or token ids where a model
            takes them.
        leaves: paths of modules that stay one node.
        load_name: a file of weights for the model, or None.
        load_type: what that file is; `auto` sees for itself.
        seed: of the model's weights where they are made, and of what passes draw.
        project_dir: folder for run folders.
        project: name of the run folder; that of the configuration if None.
        passes: name -> options, in their order.
    """

    model: Optional[str] = None
    inputs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    load_name: Optional[str] = None
    load_type: str = "auto"
    seed: int = 1
    project_dir: str = "graph-runs"
    project: Optional[str] = None
    passes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


FIELDS = tuple(each.name for each in fields(TransformConfig))
# MASE's, of training, of its logs and of its other actions
WITHOUT_EFFECT = (
    "accelerator", "accumulate_grad_batches", "batch_size", "cpu", "dataset", "debug", "disable_dataset_cache",
    "eta_min", "github_ci", "gpu", "interactive", "is_pretrained", "is_to_auto_requeue", "learning_rate",
    "log_every_n_steps", "log_level", "max_epochs", "max_steps", "max_token_len", "no_warnings", "num_devices",
    "num_nodes", "num_targets", "num_workers", "pretrained", "profile", "quant_config", "report_to", "run_emit",
    "search", "skip_build", "skip_test", "strategy", "t_max", "target", "task", "to_debug", "trainer_precision",
    "training_optimizer", "transform", "weight_decay",
)  # fmt: skip


def build_config(values: Mapping[str, Any], where: str) -> TransformConfig:
    """The configuration that `values` are; None and "NA" leave a setting at its default.

    Raises:
        ConfigError: an unknown key (names the nearest), a value of another kind.
    """
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key in WITHOUT_EFFECT:
            continue
        if key not in FIELDS:
            raise ConfigError(unknown("key", key, FIELDS, where=where))
        if value is None or value == "NA":
            continue
        given[key] = _READERS.get(key, _text)(value, f"{where}: {key}")
    config = TransformConfig(**given)
    if config.load_type == "mz":
        raise ConfigError(f"{where}: load_type mz: such a file is code that MASE runs; save its state dict as .pt")
    if config.load_type not in LOAD_TYPES:
        raise ConfigError(unknown("load_type", config.load_type, LOAD_TYPES, where=where))
    return config


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: needs a text, got {value!r}")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)):
        raise ConfigError(f"{where}: needs a list of texts, got {value!r}")
    return tuple(_text(text, where) for text in texts)


def _seed(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise ConfigError(f"{where}: needs a whole number from 0 to 2^32 - 1, got {value!r}")
    return value


def _passes(value: Any, where: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: needs tables such as [passes.quantize], got {value!r}")
    found = {}
    for name, options in value.items():
        options = {} if options is None else options
        if not isinstance(options, Mapping):
            raise ConfigError(f"{where}.{name}: needs a table of options, got {options!r}")
        found[name] = dict(options)
    return found


_READERS: dict[str, Any] = {"inputs": _texts, "leaves": _texts, "seed": _seed, "passes": _passes}
