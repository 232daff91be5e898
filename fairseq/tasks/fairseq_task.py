"""`FairseqTask`: data, model, criterion and the steps of a kind of training.

task = tasks.setup_task(cfg.task)
task.load_dataset("train")
itr = task.get_batch_iterator(task.dataset("train"), max_sentences=16).next_epoch_itr()
for sample in itr:
    loss, sample_size, logging_output = task.train_step(sample, model, criterion, optimizer, update_num)
"""

import logging
import os
import warnings
from argparse import Namespace
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.data import Dictionary, FairseqDataset, data_utils, encoders, iterators
from fairseq.data.fairseq_dataset import FairseqIterableDataset
from fairseq.dataclass.flags import add_flags_of
from fairseq.errors import DataError
from fairseq.logging import metrics
from fairseq.quantization.bits import bits_for
from fairseq.tasks.stateful_container import StatefulContainer
from fairseq.tokenizer import tokenize_line

logger = logging.getLogger(__name__)


class FairseqTask:
    """Base of all tasks.

    Args:
        cfg: the task's config node.

    Attributes:
        datasets: split -> dataset, filled by `load_dataset`.
        state: saved in checkpoints, see `StatefulContainer`.
    """

    # `setup_task` accepts `task_state=`, the state saved in a checkpoint, to work without the data it was made from
    takes_task_state = False

    def __init__(self, cfg: Any, **kwargs: Any):
        self.cfg = cfg
        self.datasets: dict[str, Any] = {}
        self.dataset_to_epoch_iter: dict[Any, Any] = {}
        self.state = StatefulContainer()

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add a task's flags to `parser`: those of its config dataclass, unless a class overrides this."""
        add_flags_of(cls, parser)

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> "FairseqTask":
        """Load what the constructor needs (dictionaries) and construct."""
        return cls(cfg, **kwargs)

    @staticmethod
    def logging_outputs_can_be_summed(criterion: Any) -> bool:
        """Whether logging outputs may be added key by key over batches and processes, see FairseqCriterion."""
        return criterion.logging_outputs_can_be_summed()

    # -- dictionaries, text ------------------------------------------------------------------------------------------

    @classmethod
    def load_dictionary(cls, filename: str) -> Dictionary:
        return Dictionary.load(filename)

    @classmethod
    def build_dictionary(
        cls, filenames: list[str], workers: int = 1, threshold: int = -1, nwords: int = -1, padding_factor: int = 8
    ) -> Dictionary:
        """A dictionary of the words in text files.

        Args:
            workers: processes that count.
            threshold, nwords: words to keep: those that occur this often, this many at most (-1: all).
            padding_factor: fill up with unused symbols to a multiple of this.
        """
        dictionary = Dictionary()
        for filename in filenames:
            Dictionary.add_file_to_dictionary(filename, dictionary, tokenize_line, workers)
        dictionary.finalize(threshold=threshold, nwords=nwords, padding_factor=padding_factor)
        return dictionary

    @property
    def source_dictionary(self) -> Optional[Dictionary]:
        """Dictionary of the model's input."""
        return None

    @property
    def target_dictionary(self) -> Optional[Dictionary]:
        """Dictionary of what the model predicts; its padding is left out of losses."""
        return None

    def build_tokenizer(self, args: Any) -> Any:
        """The tokenizer that splits raw text into words, for interactive use."""
        return encoders.build_tokenizer(args)

    def build_bpe(self, args: Any) -> Any:
        """The encoder that splits words into subwords, for interactive use."""
        return encoders.build_bpe(args)

    # -- data --------------------------------------------------------------------------------------------------------

    def has_sharded_data(self, split: str) -> bool:
        """True where each epoch reads another part of the data (`data` names several folders)."""
        return os.pathsep in (getattr(self.cfg, "data", None) or "")

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split into `self.datasets`.

        Args:
            split: train, valid, valid1, test, ...
            combine: read `train1, train2, ...` as part of `train`.
            task_cfg: a config to use for this split instead of the task's.
            kwargs: `epoch` chooses the part of sharded data.
        """
        raise NotImplementedError(f"{type(self).__name__}.load_dataset")

    def dataset(self, split: str) -> Any:
        """A loaded split.

        Raises:
            KeyError: not loaded.
        """
        if split not in self.datasets:
            raise KeyError(f"split {split!r} has not been loaded; call load_dataset({split!r}) first")
        if not isinstance(self.datasets[split], (FairseqDataset, FairseqIterableDataset)):
            raise TypeError(f"dataset {split!r} must be a FairseqDataset, not {type(self.datasets[split]).__name__}")
        return self.datasets[split]

    def dataset_for_scoring(self, split: str) -> Any:
        """A loaded split as it is validated: a task may order it so that its batches need little padding."""
        return self.dataset(split)

    def max_positions(self) -> Any:
        """The longest input: a number, a tuple for several inputs, or None for any length."""
        return None

    def filter_indices_by_size(
        self, indices: Any, dataset: Any, max_positions: Any = None, ignore_invalid_inputs: bool = False
    ) -> Any:
        """`indices` without the examples that are longer than `max_positions`.

        Raises:
            DataError: there are such examples and `ignore_invalid_inputs` is not set.
        """
        return data_utils.filter_by_size(indices, dataset, max_positions, raise_exception=not ignore_invalid_inputs)

    def seed_of_order(self, seed: int, epoch: int) -> int:
        """The seed of the order in which examples are batched."""
        return seed + epoch

    def can_reuse_epoch_itr(self, dataset: Any) -> bool:
        """Whether batches made for one epoch serve the next ones too."""
        return getattr(dataset, "can_reuse_epoch_itr_across_epochs", False)

    def get_batch_iterator(
        self,
        dataset: Any,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        max_positions: Any = None,
        ignore_invalid_inputs: bool = False,
        required_batch_size_multiple: int = 1,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        disable_iterator_cache: bool = False,
        skip_remainder_batch: bool = False,
        grouped_shuffling: bool = False,
        update_epoch_batch_itr: bool = False,
    ) -> Any:
        """An `EpochBatchIterator` over `dataset`; the same object again for a dataset whose batches can be reused.

        Args:
            max_tokens, max_sentences: limits of a batch: padded tokens, examples.
            max_positions: examples longer than this are skipped, or an error unless `ignore_invalid_inputs`.
            required_batch_size_multiple: batches have this many examples, a multiple of it, or fewer.
            seed: of the order of examples and batches.
            num_shards, shard_id: take every `num_shards`-th batch from `shard_id` on.
            num_workers, data_buffer_size: processes that load, batches that are loaded ahead.
            epoch: to start with.
            disable_iterator_cache: make a new iterator even where one could be reused.
            skip_remainder_batch: leave out a last batch, and a last group of batches, that is not full.
            grouped_shuffling: shuffle groups of `num_shards` batches, so that batches of one update have like lengths.
            update_epoch_batch_itr: make new batches for every epoch.

        Raises:
            DataError: nothing to iterate over, or examples that are too long.
        """
        reusable = not disable_iterator_cache and not update_epoch_batch_itr and self.can_reuse_epoch_itr(dataset)
        if reusable and dataset in self.dataset_to_epoch_iter:
            return self.dataset_to_epoch_iter[dataset]
        dataset.set_epoch(epoch)

        def make_batches(dataset: Any, epoch: int) -> Any:
            with data_utils.numpy_seed(self.seed_of_order(seed, epoch)):
                indices = dataset.ordered_indices()
            if max_positions is not None:
                indices = self.filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs)
            if len(indices) == 0:
                reason = f": all {len(dataset)} are longer than {max_positions} tokens" if len(dataset) else ""
                raise DataError(f"{self._name_of_split(dataset)} has no examples{reason}; check task.data")
            return dataset.batch_by_size(
                indices,
                max_tokens=max_tokens,
                max_sentences=max_sentences,
                required_batch_size_multiple=required_batch_size_multiple,
            )

        # Batches that serve all epochs are those of epoch 1 in a run without interruption, so also after a resume.
        first_epoch = 1 if reusable and not self._is_sharded(dataset) else epoch
        epoch_iter = iterators.EpochBatchIterator(
            dataset=dataset,
            collate_fn=dataset.collater,
            batch_sampler=make_batches if update_epoch_batch_itr else make_batches(dataset, first_epoch),
            seed=seed,
            num_shards=num_shards,
            shard_id=shard_id,
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=data_buffer_size,
            skip_remainder_batch=skip_remainder_batch,
            grouped_shuffling=grouped_shuffling,
        )
        if reusable:
            self.dataset_to_epoch_iter[dataset] = epoch_iter
        return epoch_iter

    def _split_of(self, dataset: Any) -> Optional[str]:
        candidates = (dataset, getattr(dataset, "dataset", None))  # itself, or what it orders for scoring
        return next((split for split, loaded in self.datasets.items() if any(loaded is c for c in candidates)), None)

    def _name_of_split(self, dataset: Any) -> str:
        split = self._split_of(dataset)
        return "the data set" if split is None else f"split {split!r}"

    def _is_sharded(self, dataset: Any) -> bool:
        split = self._split_of(dataset)
        return split is not None and self.has_sharded_data(split)

    def build_dataset_for_inference(self, src_tokens: list[Tensor], src_lengths: Any, **kwargs: Any) -> Any:
        """A dataset of inputs without targets."""
        raise NotImplementedError(f"{type(self).__name__}.build_dataset_for_inference")

    def get_interactive_tokens_and_lengths(self, lines: list[str], encode_fn: Callable[[str], str]) -> tuple[Any, Any]:
        """Token ids and lengths of lines of text."""
        dictionary = self.source_dictionary
        assert dictionary is not None
        tokens = [dictionary.encode_line(encode_fn(line), add_if_not_exist=False).long() for line in lines]
        return tokens, [t.numel() for t in tokens]

    def check_sizes(self) -> None:
        """Raise ConfigError where a size in the config contradicts the data. Called before training; evaluation takes
        what a checkpoint was trained with.
        """

    # -- model and criterion -----------------------------------------------------------------------------------------

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """The model that `cfg` describes, for this task."""
        from fairseq.models.building import build_model

        if getattr(cfg, "quant_noise_scalar", 0) > 0:
            logger.warning("model.quant_noise_scalar has no effect")
        return build_model(cfg, self, from_checkpoint)

    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """The criterion that `cfg` describes, for this task."""
        from fairseq import criterions

        return criterions.build_criterion(cfg, self, from_checkpoint)

    def build_generator(
        self,
        models: list[Any],
        args: Any,
        seq_gen_cls: Optional[Callable[..., Any]] = None,
        extra_gen_cls_kwargs: Optional[dict[str, Any]] = None,
        prefix_allowed_tokens_fn: Optional[Callable[..., Any]] = None,
    ) -> Any:
        """What generates with `models` as the `generation` config `args` says, see `fairseq.tasks.generators`."""
        from fairseq.tasks.generators import build_generator

        dictionary = self.target_dictionary
        return build_generator(dictionary, models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)

    # -- steps -------------------------------------------------------------------------------------------------------

    def train_step(
        self,
        sample: Any,
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Any, dict[str, Any]]:
        """Forward and backward of one batch; gradients add up in the model.

        Args:
            ignore_grad: a dummy batch in place of a missing one; its gradient must be zero.
            num_bits: bits of this update, for a quantized model.

        Returns:
            loss, sample size, logging output: as from the criterion.
        """
        if not model.training:
            model.train()
        model.set_num_updates(update_num)
        loss, sample_size, logging_output = criterion(model, sample, **bits_for(criterion, num_bits))
        if ignore_grad:
            loss = loss * 0
        optimizer.backward(loss)
        return loss, sample_size, logging_output

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> tuple[Tensor, Any, dict[str, Any]]:
        """Loss of one batch, without gradients."""
        if model.training:
            model.eval()
        with torch.no_grad():
            return criterion(model, sample)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Change the weights by the gradients."""
        optimizer.step()

    def inference_step(
        self, generator: Any, models: list[Any], sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        """Hypotheses for one batch."""
        with torch.no_grad():
            return generator.generate(models, sample, prefix_tokens=prefix_tokens, constraints=constraints)

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """Hook: an epoch of training starts."""

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Hook: a validation pass starts."""

    # -- reporting ---------------------------------------------------------------------------------------------------

    def aggregate_logging_outputs(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> dict[str, Any]:
        """What `reduce_metrics` logs, as a dict."""
        with metrics.aggregate() as aggregator:
            self.reduce_metrics(logging_outputs, criterion)
        return aggregator.get_smoothed_values()

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log speed and size of batches (wps, wpb, bsz) and what the criterion reports."""
        if not any("ntokens" in output for output in logging_outputs):
            warnings.warn("the criterion reports no ntokens, so wps and wpb are missing from the log")
        else:
            ntokens = sum(output.get("ntokens", 0) for output in logging_outputs)
            metrics.log_scalar("wpb", ntokens, priority=180, round=1)
            metrics.log_speed("wps", ntokens, priority=90, round=1)
        if not any("nsentences" in output for output in logging_outputs):
            warnings.warn("the criterion reports no nsentences, so bsz is missing from the log")
        else:
            nsentences = sum(output.get("nsentences", 0) for output in logging_outputs)
            metrics.log_scalar("bsz", nsentences, priority=190, round=1)
        type(criterion).reduce_metrics(logging_outputs)

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints store as `task_state`."""
        return self.state.state_dict if self.state is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the `task_state` of a checkpoint."""
        if self.state is not None:
            self.state.merge_state_dict(state_dict)


class LegacyFairseqTask(FairseqTask):
    """Base for tasks in the argparse style (`add_args`, options read from `self.args`)."""

    def __init__(self, args: Namespace):
        super().__init__(None)
        self.args = args

    @classmethod
    def setup_task(cls, args: Namespace, **kwargs: Any) -> "LegacyFairseqTask":  # type: ignore[override]
        return cls(args, **kwargs)

    def has_sharded_data(self, split: str) -> bool:
        return os.pathsep in (getattr(self.args, "data", None) or "")
