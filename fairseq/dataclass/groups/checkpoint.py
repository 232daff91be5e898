"""`checkpoint`: what is saved, what is kept, what a run starts from, and which checkpoint is the best.

>>> CheckpointConfig().restore_file
'checkpoint_last.pt'
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.ranges import at_least


@dataclass
class CheckpointConfig(FairseqDataclass):
    """Saving and loading."""

    save_dir: str = option(
        "checkpoints",
        "folder for checkpoints; a relative one is taken from the folder the command was started in. "
        "fairseq-hydra-train: the default is in the run's folder, outputs/DATE/TIME; "
        "in a multirun a relative path is in each job's own folder",
        path="out",
    )
    restore_file: str = option(
        "checkpoint_last.pt",
        "checkpoint to start from, relative to the folder the command was started in; "
        "by default the last one in save_dir, if there is one",
        path="in",
    )
    continue_once: Optional[str] = option(
        None, "start from this checkpoint, unless save_dir has a checkpoint_last.pt already", path="in"
    )
    finetune_from_model: Optional[str] = option(
        None, "start a new run from the weights of this checkpoint (all reset_* at once)", path="in"
    )
    reset_dataloader: bool = option(False, "start at the first batch of the first epoch")
    reset_lr_scheduler: bool = option(False, "do not load the learning-rate scheduler's state")
    reset_meters: bool = option(False, "do not load meters (the best score and training time among them)")
    reset_optimizer: bool = option(False, "do not load the optimizer's state")
    optimizer_overrides: str = option("{}", "Python dict of optimizer settings to replace while loading")
    save_interval: int = option(1, "save every this many epochs", within=at_least(1))
    save_interval_updates: int = option(
        0, "also save, and validate, every this many updates (0: never)", within=at_least(0, also=-1)
    )
    keep_interval_updates: int = option(
        -1, "keep this many of the checkpoints of save_interval_updates (-1: all)", within=at_least(0, also=-1)
    )
    keep_interval_updates_pattern: int = option(
        -1,
        "with keep_interval_updates: also keep those at multiples of this many updates (-1: none)",
        within=at_least(1, also=-1),
    )
    keep_last_epochs: int = option(
        -1, "keep the checkpoints of this many last epochs (-1: all)", within=at_least(0, also=-1)
    )
    keep_best_checkpoints: int = option(
        -1, "keep this many best checkpoints by score (-1: only checkpoint_best.pt)", within=at_least(0, also=-1)
    )
    no_save: bool = option(False, "save nothing")
    no_epoch_checkpoints: bool = option(False, "save only checkpoint_last.pt and checkpoint_best.pt")
    no_last_checkpoints: bool = option(False, "do not save checkpoint_last.pt")
    no_save_optimizer_state: bool = option(False, "leave the optimizer's state out of checkpoints")
    best_checkpoint_metric: str = option("loss", "validation metric that decides which checkpoint is the best")
    maximize_best_checkpoint_metric: bool = option(False, "the largest value of that metric is best, not the smallest")
    patience: int = option(
        -1, "stop when this many validations in a row brought no better score (-1: never)", within=at_least(0, also=-1)
    )
    checkpoint_suffix: str = option("", "added to the names of checkpoint files, before .pt")
    checkpoint_shard_count: int = option(1, "files that one checkpoint is cut into", within=at_least(1))
    load_checkpoint_on_all_dp_ranks: bool = option(
        False, "every process reads the file, instead of one that sends it to the others"
    )
    write_checkpoints_asynchronously: bool = option(
        False, "write checkpoints in the background while training continues", alias=["--save-async"]
    )
    model_parallel_size: int = option(II("common.model_parallel_size"), "follows common.model_parallel_size")
