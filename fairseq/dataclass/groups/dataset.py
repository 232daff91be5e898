"""`dataset`: batches, data loading and validation.

>>> DatasetConfig().required_batch_size_multiple
8
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.constants import DATASET_IMPL_CHOICES
from fairseq.dataclass.ranges import SEEDS, at_least


@dataclass
class DatasetConfig(FairseqDataclass):
    """What goes into a batch, and when the model is validated."""

    num_workers: int = option(1, "processes that prepare batches (0: in the training process)", within=at_least(0))
    skip_invalid_size_inputs_valid_test: bool = option(
        False, "leave out examples of valid and test that are too long, instead of ending with an error"
    )
    max_tokens: Optional[int] = option(None, "tokens in a batch at most, padding included", within=at_least(1))
    batch_size: Optional[int] = option(
        None, "examples in a batch at most", alias=["--max-sentences"], within=at_least(1)
    )
    required_batch_size_multiple: int = option(
        8, "a batch has at most this many examples, or a multiple of it", within=at_least(1)
    )
    required_seq_len_multiple: int = option(1, "pad sequences to a multiple of this length", within=at_least(1))
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(
        None, "format of binarised data; default: as the files themselves say"
    )
    data_buffer_size: int = option(10, "batches that are loaded ahead", within=at_least(0))
    train_subset: str = option("train", "split to train on; train[:90%] is a part of it, train[90%:] the rest")
    valid_subset: str = option("valid", "splits to validate on, separated by commas; the first selects the best model")
    combine_valid_subsets: Optional[bool] = option(
        None, "validate on valid, valid1, valid2 ... as one split", alias=["--combine-val"]
    )
    ignore_unused_valid_subsets: Optional[bool] = option(
        False, "accept valid1, valid2 ... that valid_subset does not name"
    )
    validate_interval: int = option(1, "validate every this many epochs", within=at_least(1))
    validate_interval_updates: int = option(
        0, "validate every this many updates (0: at the end of epochs only)", within=at_least(0, also=-1)
    )
    validate_after_updates: int = option(0, "no validation before this many updates", within=at_least(0))
    fixed_validation_seed: Optional[int] = option(
        None, "seed of every validation; default: the state of the run's generators", within=SEEDS
    )
    disable_validation: bool = option(False, "never validate")
    max_tokens_valid: Optional[int] = option(
        II("dataset.max_tokens"), "tokens in a validation batch; default: as max_tokens"
    )
    batch_size_valid: Optional[int] = option(
        II("dataset.batch_size"),
        "examples in a validation batch; default: as batch_size",
        alias=["--max-sentences-valid"],
    )
    max_valid_steps: Optional[int] = option(
        None, "validate on at most this many batches", alias=["--nval"], within=at_least(1)
    )
    curriculum: int = option(0, "do not shuffle batches in this many first epochs", within=at_least(0))
    gen_subset: str = option("test", "split to generate from: train, valid, test ...")
    num_shards: int = option(1, "cut the data into this many parts for generation", within=at_least(1))
    shard_id: int = option(0, "part to generate from, 0 ... num_shards - 1", within=at_least(0))
    grouped_shuffling: bool = option(
        False, "shuffle batches in groups of num_shards, so that processes get sequences of similar length"
    )
    update_epoch_batch_itr: bool = option(
        II("dataset.grouped_shuffling"), "make new batches in every epoch; default: as grouped_shuffling"
    )
    update_ordered_indices_seed: bool = option(False, "change the order of examples of equal length in every epoch")
