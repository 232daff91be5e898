"""`optimization` and `ema`: how long to train, with what learning rate, on which parameters.

>>> OptimizationConfig().trainable
[]
"""

from dataclasses import dataclass
from typing import List, Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.ranges import at_least, between


@dataclass
class OptimizationConfig(FairseqDataclass):
    """Length of training, learning rate, gradient handling, frozen parameters."""

    max_epoch: int = option(0, "stop after this many epochs (0: no limit)", within=at_least(0))
    max_update: int = option(0, "stop after this many updates (0: no limit)", within=at_least(0))
    stop_time_hours: float = option(
        0, "stop after this many hours of training, earlier runs included (0: no limit)", within=at_least(0, also=-1)
    )
    clip_norm: float = option(0.0, "scale gradients down to this norm (0: never)", within=at_least(0))
    sentence_avg: bool = option(False, "divide the gradient by the number of sentences, not of tokens")
    update_freq: List[int] = option(
        [1], "batches per update, one number per epoch; the last one holds for all later epochs", within=at_least(1)
    )
    lr: List[float] = option(
        [0.25],
        "learning rate, one number per epoch; the last one holds on; the lr_scheduler may change it",
        within=at_least(0),
    )
    stop_min_lr: float = option(-1.0, "stop when the learning rate has fallen to this", within=at_least(0, also=-1))
    use_bmuf: bool = option(False, "synchronise processes by blockwise model-update filtering (see bmuf)")
    skip_remainder_batch: Optional[bool] = option(
        False, "leave out the last batches of an epoch where they do not fill update_freq"
    )
    debug_param_names: bool = option(False, "hand parameter names to the optimizer, for debugging")
    dense_embedding_gradients: bool = option(
        False,
        "gradients of large embeddings hold all rows instead of the batch's (the update is the same; only the batch's: "
        "CPU, one process, adam)",
    )
    trainable: List[str] = option(
        [],
        "globs over parameter names, such as [classification_heads.*]: what matches trains, all else is frozen "
        "(empty: everything trains)",
    )


@dataclass
class EMAConfig(FairseqDataclass):
    """A moving average of the weights."""

    store_ema: bool = option(False, "keep an exponential moving average of the weights in checkpoints")
    ema_decay: float = option(0.9999, "weight of the old average at each update", within=between(0, 1))
    ema_start_update: int = option(0, "start averaging after this many updates", within=at_least(0))
    ema_seed_model: Optional[str] = option(
        None, "checkpoint to start the average from; default: the model itself", path="in"
    )
    ema_update_freq: int = option(1, "updates between two steps of the average", within=at_least(1))
    ema_fp32: bool = option(False, "average in fp32 although the model is in 16 bits")
