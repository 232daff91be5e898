"""Configs of learning-rate schedulers. All start from `optimization.lr`, called lr below.

>>> PolynomialDecayConfig(warmup_updates=122).power
1.0
"""

from dataclasses import dataclass
from typing import List, Optional, Tuple

from fairseq.dataclass.base import II, MISSING, FairseqDataclass, option
from fairseq.dataclass.ranges import above, at_least, between

_WARMUP = "updates over which the rate rises linearly to lr"
_FOLLOWS_LR = "follows optimization.lr"


@dataclass
class FixedConfig(FairseqDataclass):
    """`lr_scheduler=fixed`: lr by epoch, shrunk from epoch force_anneal on."""

    force_anneal: Optional[int] = option(None, "shrink the rate from this epoch on", within=at_least(0))
    lr_shrink: float = option(0.1, "factor by which each of those epochs shrinks it", within=above(0))
    warmup_updates: int = option(0, _WARMUP, within=at_least(0))
    lr: List[float] = option(II("optimization.lr"), _FOLLOWS_LR)


@dataclass
class InverseSqrtConfig(FairseqDataclass):
    """`lr_scheduler=inverse_sqrt`: warm up, then fall with 1 / sqrt(update)."""

    warmup_updates: int = option(4000, _WARMUP, within=at_least(0))
    warmup_init_lr: float = option(
        -1, "rate that the warm-up starts from; -1: 0, or lr without warm-up", within=at_least(0, also=-1)
    )
    lr: List[float] = option(II("optimization.lr"), _FOLLOWS_LR)


@dataclass
class PolynomialDecayConfig(FairseqDataclass):
    """`lr_scheduler=polynomial_decay`: warm up, then fall to end_learning_rate along a power of the remaining time."""

    warmup_updates: int = option(0, _WARMUP, within=at_least(0))
    force_anneal: Optional[int] = option(
        None, "decay from this epoch on; until then lr holds by epoch", within=at_least(0)
    )
    end_learning_rate: float = option(0.0, "rate at the end", within=at_least(0))
    power: float = option(1.0, "exponent of the decay; 1 is a straight line", within=at_least(0))
    total_num_update: float = option(
        II("optimization.max_update"), "update at which the end is reached; default: as optimization.max_update"
    )
    lr: List[float] = option(II("optimization.lr"), _FOLLOWS_LR)


@dataclass
class CosineConfig(FairseqDataclass):
    """`lr_scheduler=cosine`: warm up, then fall from lr to min_lr along a cosine, once or in cycles."""

    warmup_updates: int = option(0, _WARMUP, within=at_least(0))
    warmup_init_lr: float = option(-1, "rate that the warm-up starts from; -1: min_lr", within=at_least(0, also=-1))
    lr: List[float] = option(II("optimization.lr"), "highest rate; follows optimization.lr")
    min_lr: float = option(0.0, "lowest rate", within=at_least(0))
    t_mult: float = option(1.0, "factor by which each cycle is longer than the one before", within=above(0))
    lr_period_updates: float = option(
        -1, "updates of the first cycle; -1: one cycle up to max_update", within=above(0, also=-1)
    )
    lr_shrink: float = option(0.1, "factor on both rates from cycle to cycle", within=above(0))
    max_update: int = option(II("optimization.max_update"), "follows optimization.max_update")


@dataclass
class TriStageConfig(FairseqDataclass):
    """`lr_scheduler=tri_stage`: rise, hold, fall exponentially."""

    warmup_steps: int = option(0, "updates that rise from init_lr_scale * lr to lr", within=at_least(0))
    hold_steps: int = option(0, "updates that hold lr", within=at_least(0))
    decay_steps: int = option(0, "updates that fall to final_lr_scale * lr", within=at_least(0))
    phase_ratio: Optional[Tuple[float, float, float]] = option(
        None, "the three stages as shares of max_update, which add up to 1", within=between(0, 1)
    )
    init_lr_scale: float = option(0.01, "first rate as a share of lr", within=at_least(0))
    final_lr_scale: float = option(0.01, "last rate as a share of lr", within=above(0))
    max_update: float = option(II("optimization.max_update"), "follows optimization.max_update")
    lr: List[float] = option(II("optimization.lr"), _FOLLOWS_LR)


@dataclass
class TriangularConfig(FairseqDataclass):
    """`lr_scheduler=triangular`: up to max_lr and down to lr, again and again."""

    max_lr: float = option(MISSING, "highest rate; above lr", within=above(0))
    lr_period_updates: float = option(5000, "updates of one cycle", within=above(0, also=-1))
    lr_shrink: float = option(0.1, "factor on the highest rate from cycle to cycle", within=above(0))
    shrink_min: bool = option(False, "shrink the lowest rate too")
    lr: List[float] = option(II("optimization.lr"), "lowest rate; follows optimization.lr")


@dataclass
class ReduceLROnPlateauConfig(FairseqDataclass):
    """`lr_scheduler=reduce_lr_on_plateau`: shrink when validation no longer improves."""

    lr_shrink: float = option(0.1, "factor by which the rate shrinks", within=above(0))
    lr_threshold: float = option(1e-4, "relative change that counts as an improvement", within=at_least(0))
    lr_patience: int = option(0, "epochs without improvement before the rate shrinks", within=at_least(0))
    warmup_updates: int = option(0, _WARMUP, within=at_least(0))
    warmup_init_lr: float = option(
        -1, "rate that the warm-up starts from; -1: 0, or lr without warm-up", within=at_least(0, also=-1)
    )
    lr: List[float] = option(II("optimization.lr"), _FOLLOWS_LR)
    maximize_best_checkpoint_metric: bool = option(
        II("checkpoint.maximize_best_checkpoint_metric"), "follows checkpoint.maximize_best_checkpoint_metric"
    )


@dataclass
class StepConfig(FairseqDataclass):
    """`lr_scheduler=step`: multiply by lr_decay at fixed intervals."""

    warmup_updates: int = option(0, _WARMUP, within=at_least(0))
    warmup_init_lr: float = option(-1, "rate that the warm-up starts from; -1: min_lr", within=at_least(0, also=-1))
    lr: List[float] = option(II("optimization.lr"), _FOLLOWS_LR)
    min_lr: float = option(0.0, "lowest rate", within=at_least(0))
    lr_deacy_period: int = option(
        25000, "updates between two steps (the key is spelt as in fairseq)", within=at_least(1)
    )
    lr_decay: float = option(0.5, "factor of each step", within=above(0))


@dataclass
class ManualConfig(FairseqDataclass):
    """`lr_scheduler=manual`: rates written out by hand, for epochs or for updates."""

    epoch2lr: str = option("{}", "rates by epoch, {'1-3': 0.1, '4': 0.05}")
    update2lr: str = option("{}", "rates by update, {'1-1000': 0.1}")


@dataclass
class PassThroughConfig(FairseqDataclass):
    """`lr_scheduler=pass_through`: the optimizer schedules for itself."""
