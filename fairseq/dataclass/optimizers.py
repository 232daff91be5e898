"""Configs of optimizers. All follow `optimization.lr`.

>>> AdamConfig().adam_eps
1e-08
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.ranges import above, any_number, at_least, below_one, between


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
    weight_decay: float = option(
        0.0, "shrink weights by lr * weight_decay at each update", alias=["--wd"], within=at_least(0)
    )
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

    weight_decay: float = option(0.0, "add weight_decay * weight to the gradient", alias=["--wd"], within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class AdadeltaConfig(FairseqDataclass):
    """`optimizer=adadelta`: steps scaled by the size of recent steps over that of recent gradients."""

    adadelta_rho: float = option(0.9, "decay of both moving averages", within=between(0, 1))
    adadelta_eps: float = option(1e-6, "added under both square roots", within=at_least(0))
    weight_decay: float = option(0.0, "add weight_decay * weight to the gradient", alias=["--wd"], within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class AdamaxConfig(FairseqDataclass):
    """`optimizer=adamax`: Adam with the largest recent gradient in place of their mean square."""

    adamax_betas: Any = option(
        (0.9, 0.999), 'decay of the mean and of the maximum, [0.9,0.98] or "(0.9, 0.98)"', within=below_one()
    )
    adamax_eps: float = option(1e-8, "added to the denominator", within=at_least(0))
    weight_decay: float = option(
        0.0, "shrink weights by lr * weight_decay at each update", alias=["--wd"], within=at_least(0)
    )
    no_bias_correction: bool = option(False, "do not correct the mean for starting at zero")
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class AdafactorConfig(FairseqDataclass):
    """`optimizer=adafactor`: Adam with one mean square per row and per column of a matrix."""

    adafactor_eps: Any = option(
        (1e-30, 1e-3), "added to squared gradients, and the least scale of a parameter", within=at_least(0)
    )
    clip_threshold: float = option(1.0, "scale updates down to this root mean square", within=above(0))
    decay_rate: float = option(-0.8, "power of the update number in the decay of the mean squares", within=any_number())
    beta1: Optional[float] = option(None, "decay of the mean of updates; none is kept by default", within=below_one())
    weight_decay: float = option(
        0.0, "shrink weights by lr * weight_decay at each update", alias=["--wd"], within=at_least(0)
    )
    scale_parameter: bool = option(False, "multiply the learning rate by the root mean square of the parameter")
    relative_step: bool = option(False, "set the learning rate by the number of updates instead of optimization.lr")
    warmup_init: bool = option(False, "with relative_step: let the learning rate rise from 1e-6")
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")


@dataclass
class OptimizerAndSchedulerConfig(FairseqDataclass):
    """One group of `optimizer=composite`: its optimizer and its schedule, each a mapping with `_name`."""

    optimizer: Any = option(None, "its optimizer, as {_name: adam}")
    lr_scheduler: Optional[Any] = option(None, "its schedule, as {_name: inverse_sqrt, warmup_updates: 4000}")
    lr: List[float] = option(II("optimization.lr"), "learning rate of each epoch")
    lr_float: Optional[float] = option(None, "one learning rate, in place of lr", within=at_least(0))


@dataclass
class CompositeOptimizerConfig(FairseqDataclass):
    """`optimizer=composite`: an optimizer and a schedule for each group of parameters that the model marks."""

    groups: Dict[str, Any] = field(
        default_factory=dict, metadata={"help": "name of a group -> {optimizer: ..., lr_scheduler: ..., lr: ...}"}
    )
    dynamic_groups: bool = option(False, "groups by settings that single parameters bring")
    lr: List[float] = option(II("optimization.lr"), "follows optimization.lr")
