"""The root of the configuration and its groups.

A config has fixed groups (`common`, `dataset`, ...), each with its dataclass, and one slot per kind of
component (`task`, `model`, ...), whose keys are those of the chosen component (see `fairseq.dataclass.catalog`).

>>> FairseqConfig().common.seed
1
"""

from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass.base import MISSING, FairseqDataclass, option
from fairseq.dataclass.groups.checkpoint import CheckpointConfig
from fairseq.dataclass.groups.common import CommonConfig
from fairseq.dataclass.groups.dataset import DatasetConfig
from fairseq.dataclass.groups.distributed import DistributedTrainingConfig, FairseqBMUFConfig
from fairseq.dataclass.groups.evaluation import CommonEvalConfig, EvalLMConfig, InteractiveConfig
from fairseq.dataclass.groups.generation import GenerationConfig
from fairseq.dataclass.groups.optimization import EMAConfig, OptimizationConfig
from fairseq.dataclass.groups.quantization import QuantizationGroup

__all__ = [
    "CheckpointConfig",
    "CommonConfig",
    "CommonEvalConfig",
    "DatasetConfig",
    "DistributedTrainingConfig",
    "EMAConfig",
    "EvalLMConfig",
    "FairseqBMUFConfig",
    "FairseqConfig",
    "FairseqDataclass",
    "GenerationConfig",
    "InteractiveConfig",
    "OptimizationConfig",
    "QuantizationGroup",
]


@dataclass
class FairseqConfig(FairseqDataclass):
    """Everything that a run is configured by."""

    common: CommonConfig = field(default_factory=CommonConfig)
    common_eval: CommonEvalConfig = field(default_factory=CommonEvalConfig)
    distributed_training: DistributedTrainingConfig = field(default_factory=DistributedTrainingConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    bmuf: FairseqBMUFConfig = field(default_factory=FairseqBMUFConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    eval_lm: EvalLMConfig = field(default_factory=EvalLMConfig)
    interactive: InteractiveConfig = field(default_factory=InteractiveConfig)
    model: Any = option(MISSING, "what is trained")
    task: Any = option(None, "what it is trained for: data, dictionaries, batches")
    criterion: Any = option(None, "the loss")
    optimizer: Any = option(None, "how parameters follow gradients")
    lr_scheduler: Any = option(None, "how the learning rate changes")
    scoring: Any = option(None, "how generated text is scored")
    bpe: Any = option(None, "how words are split into subwords")
    tokenizer: Any = option(None, "how text is split into words")
    ema: EMAConfig = field(default_factory=EMAConfig)
    quantization: QuantizationGroup = field(default_factory=QuantizationGroup)
