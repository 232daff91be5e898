"""Configs of optimizers. All follow `optimization.lr`.

>>> AdamConfig().adam_eps
1e-08
"""

from dataclasses import dataclass
from typing import Any, List

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.ranges import at_least, below_one, between


@dataclass
class AdamConfig(FairseqDataclass):
    """`optimizer=adam`: Adam with decoupled weight decay."""

    adam_betas: Any = option(
        (0.9, 0.999), 'decay of the two moving averages, [0.9,0.98] or "(0.9, 0.98)"', within=below_one()
    )
    adam_eps: float = option(1e-8, "added to the denominator", within=at_least(0))
    weight_decay: float = option(0.0, "shrink weights by lr * weight_decay at each update", within=at_least(0))
    use_old_adam: bool = option(False, "use fairseq's own arithmetic instead of torch's fused one")
    fp16_adam_stats: bool = option(False, "keep the moving averages in 16 bits")
    tpu: bool = option(II("common.tpu"), "follows common.tpu")
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class SGDConfig(FairseqDataclass):
    """`optimizer=sgd`: gradient descent, with optional momentum."""

    momentum: float = option(0.0, "share of the last step that is repeated", within=below_one())
    weight_decay: float = option(0.0, "shrink weights by lr * weight_decay at each update", within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class NAGConfig(FairseqDataclass):
    """`optimizer=nag`: Nesterov's accelerated gradient."""

    momentum: float = option(0.99, "share of the last step that is repeated", within=below_one())
    weight_decay: float = option(0.0, "shrink weights by lr * weight_decay at each update", within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class AdagradConfig(FairseqDataclass):
    """`optimizer=adagrad`: rates that shrink with the summed squares of the gradients."""

    weight_decay: float = option(0.0, "add weight_decay * weight to the gradient", within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class AdadeltaConfig(FairseqDataclass):
    """`optimizer=adadelta`: steps scaled by the size of recent steps over that of recent gradients."""

    adadelta_rho: float = option(0.9, "decay of both moving averages", within=between(0, 1))
    adadelta_eps: float = option(1e-6, "added under both square roots", within=at_least(0))
    weight_decay: float = option(0.0, "add weight_decay * weight to the gradient", within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class AdamaxConfig(FairseqDataclass):
    """`optimizer=adamax`: Adam with the largest recent gradient in place of their mean square."""

    adamax_betas: Any = option(
        (0.9, 0.999), 'decay of the mean and of the maximum, [0.9,0.98] or "(0.9, 0.98)"', within=below_one()
    )
    adamax_eps: float = option(1e-8, "added to the denominator", within=at_least(0))
    weight_decay: float = option(0.0, "shrink weights by lr * weight_decay at each update", within=at_least(0))
    no_bias_correction: bool = option(False, "do not correct the mean for starting at zero")
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")
