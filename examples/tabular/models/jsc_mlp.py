"""`jsc_mlp`: the multilayer perceptrons that are used to classify jets (jet substructure classification, JSC).

    jsc_tiny   BN - ReLU - Linear(16, 5) - ReLU                                                   117 parameters
    jsc_toy    BN - ReLU - Linear(16, 8) - BN - ReLU - Linear(8, 8) - BN - ReLU - Linear(8, 5) - BN - ReLU
    jsc_s      the same with hidden layers of 64, 32, 32, 32 (JSC-S of Umuroglu et al. 2020, "LogicNets")

Sizes are for 16 features and 5 classes; the task gives those at hand. A last ReLU is part of these nets: scores are
not negative, and a class whose scores are 0 everywhere learns no more, which `output=linear` avoids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, List

from torch import Tensor, nn

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.base import option
from fairseq.errors import ConfigError
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture

OUTPUTS = ("linear", "relu", "norm_relu")


@dataclass
class JscMlpConfig(FairseqDataclass):
    """`model=jsc_mlp`."""

    hidden_sizes: List[int] = option([8, 8], "width of each hidden layer; [] for none")
    output: ChoiceEnum(OUTPUTS) = option("norm_relu", "what follows the last linear layer")


@register_model("jsc_mlp", dataclass=JscMlpConfig)
class JscMlp(BaseFairseqModel):
    """Features (B, num_features) to scores (B, num_classes)."""

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (8, 8),
        output: str = "norm_relu",
        num_features: int = 16,
        num_classes: int = 5,
    ):
        super().__init__()
        sizes = [num_features, *hidden_sizes, num_classes]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.BatchNorm1d(inputs), nn.ReLU(), nn.Linear(inputs, outputs)]
        if output == "norm_relu":
            layers.append(nn.BatchNorm1d(num_classes))
        if output != "linear":
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "JscMlp":
        if any(size < 1 for size in cfg.hidden_sizes):
            raise ConfigError(f"model.hidden_sizes (--hidden-sizes) must be 1 or more each, not {cfg.hidden_sizes}")
        return cls(cfg.hidden_sizes, str(cfg.output), task.cfg.num_features, task.cfg.num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def jsc_tiny() -> JscMlp:
    """For a use as `jsc_mlp.py:jsc_tiny`, as the other functions."""
    return JscMlp((), "relu")


def jsc_toy() -> JscMlp:
    return JscMlp((8, 8))


def jsc_s() -> JscMlp:
    return JscMlp((64, 32, 32, 32))


@register_model_architecture("jsc_mlp", "jsc_tiny")
def tiny(cfg: Any) -> None:
    cfg.hidden_sizes = getattr(cfg, "hidden_sizes", [])
    cfg.output = getattr(cfg, "output", "relu")


@register_model_architecture("jsc_mlp", "jsc_toy")
def toy(cfg: Any) -> None:
    cfg.hidden_sizes = getattr(cfg, "hidden_sizes", [8, 8])


@register_model_architecture("jsc_mlp", "jsc_s")
def small(cfg: Any) -> None:
    cfg.hidden_sizes = getattr(cfg, "hidden_sizes", [64, 32, 32, 32])
