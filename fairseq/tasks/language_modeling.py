"""`task=language_modeling`: predict each next token of running text.

    wiki-bin/{dict.txt,train.bin,train.idx,valid.bin,valid.idx,test.bin,test.idx}

The text is cut into blocks of `tokens_per_sample` as `sample_break_mode` says. A model that can may be asked for the
token itself (`self_target`) or the one before (`past_target`), too. With several folders (`a-bin:b-bin`) each epoch
reads the next.
"""

import logging
import os
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from fairseq import utils
from fairseq.data import (
    AppendTokenDataset,
    Dictionary,
    IdDataset,
    LMContextWindowDataset,
    MonolingualDataset,
    NestedDictionaryDataset,
    NumelDataset,
    PadDataset,
    PrependTokenDataset,
    StripTokenDataset,
    TokenBlockDataset,
    TruncatedDictionary,
    data_utils,
)
from fairseq.data.shorten_dataset import maybe_shorten_dataset
from fairseq.dataclass.constants import SAMPLE_BREAK_MODE_CHOICES, SHORTEN_METHOD_CHOICES
from fairseq.dataclass.tasks import LanguageModelingConfig
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried

logger = logging.getLogger(__name__)

__all__ = [
    "SAMPLE_BREAK_MODE_CHOICES",
    "SHORTEN_METHOD_CHOICES",
    "LanguageModelingConfig",
    "LanguageModelingTask",
]


@register_task("language_modeling", dataclass=LanguageModelingConfig)
class LanguageModelingTask(CarriesDictionaries):
    """Language modelling; see the head of this file.

    Args:
        args: a `LanguageModelingConfig` node, or the namespace of a plugin.
        dictionary: of the text.
        output_dictionary: of what is predicted; default: the same.
        targets: some of "self", "future", "past"; default: "future".
    """

    def __init__(
        self,
        args: Any,
        dictionary: Optional[Dictionary],
        output_dictionary: Optional[Dictionary] = None,
        targets: Optional[list[str]] = None,
    ):
        super().__init__(args)
        self.args = args
        self.dictionary = dictionary
        self.output_dictionary = output_dictionary or dictionary
        self.targets = targets or ["future"]

    @classmethod
    def setup_dictionary(cls, args: Any, **kwargs: Any) -> tuple[Optional[Dictionary], Optional[Dictionary]]:
        """The dictionary of `args.data` and that of what is predicted; None without data."""
        if not args.data:
            return None, None
        path = cls._dict_path(args)
        if not exists(path):
            raise DataError(
                f"task.data={args.data}: there is no {path}; prepare a data folder with "
                "fairseq-preprocess --only-source"
            )
        dictionary = Dictionary.load(path)
        logger.info(f"dictionary: {len(dictionary)} types")
        return dictionary, cls._predicted(args, dictionary)

    @staticmethod
    def _dict_path(args: Any) -> str:
        return os.path.join(utils.split_paths(args.data)[0], "dict.txt")

    @staticmethod
    def _predicted(args: Any, dictionary: Dictionary) -> Dictionary:
        size = args.output_dictionary_size
        return dictionary if size < 0 else TruncatedDictionary(dictionary, size)

    @classmethod
    def setup_task(  # type: ignore[override]
        cls, args: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> "LanguageModelingTask":
        """Load the dictionary from `args.data`; without that folder, from the state that a checkpoint carries."""
        dictionary = carried(task_state, "source")
        if dictionary is not None and not (args.data and exists(cls._dict_path(args))):
            output_dictionary: Optional[Dictionary] = cls._predicted(args, dictionary)
        else:
            dictionary, output_dictionary = cls.setup_dictionary(args, **kwargs)
        wanted = {"self": args.self_target, "future": args.future_target, "past": args.past_target}
        targets = [name for name, is_wanted in wanted.items() if is_wanted]
        return cls(args, dictionary, output_dictionary, targets=targets)

    def dictionaries(self) -> dict[str, Dictionary]:
        return {} if self.dictionary is None else {"source": self.dictionary}

    def build_model(self, args: Any, from_checkpoint: bool = False) -> nn.Module:
        """The model that `args` describes.

        Raises:
            ConfigError: one that cannot predict what is asked for.
        """
        model = super().build_model(args, from_checkpoint)
        supported = getattr(model, "supported_targets", {"future"})
        for target in self.targets:
            if target not in supported:
                raise ConfigError(
                    f"task.{target}_target: {type(model).__name__} predicts {', '.join(sorted(supported))} only"
                )
        return model

    # -- data --------------------------------------------------------------------------------------------------------

    def load_dataset(  # type: ignore[override]
        self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any
    ) -> Any:
        """Load a split.

        Raises:
            DataError: missing or empty.
        """
        folders = utils.split_paths(self.args.data or "")
        self.datasets[split] = self.read(folders[(epoch - 1) % len(folders)], split, combine)
        return self.datasets[split]

    def read(self, folder: str, split: str, combine: bool = False) -> MonolingualDataset:
        """The blocks of a split in a folder."""
        args = self.args
        if not args.data or self.dictionary is None:
            raise ConfigError("task.data is not set: give the folder that fairseq-preprocess --only-source has written")
        path = os.path.join(folder, split)
        text = data_utils.load_indexed_dataset(path, self.dictionary, args.dataset_impl, combine=combine)
        if text is None:
            raise DataError(f"task.data={args.data} has no split {split!r}: there is no {path}.idx")
        if len(text) == 0:
            raise DataError(f"task.data={args.data}: split {split!r} is empty ({path}.idx)")
        text = maybe_shorten_dataset(
            text, split, args.shorten_data_split_list, args.shorten_method, args.tokens_per_sample, args.seed
        )
        break_mode = str(args.sample_break_mode)
        blocks = TokenBlockDataset(
            text,
            text.sizes,
            args.tokens_per_sample,
            pad=self.dictionary.pad(),
            eos=self.dictionary.eos(),
            break_mode=break_mode,
            include_targets=True,
        )
        batch_size = args.batch_size_valid if "valid" in split else args.batch_size
        return MonolingualDataset(
            blocks,
            blocks.sizes,
            self.dictionary,
            self.output_dictionary,
            add_eos_for_other_targets=break_mode != "none",
            shuffle=True,
            targets=self.targets,
            add_bos_token=args.add_bos_token,
            fixed_pad_length=args.tokens_per_sample if args.pad_to_fixed_length else None,
            pad_to_bsz=batch_size if args.pad_to_fixed_bsz else None,
        )

    def build_dataset_for_inference(self, src_tokens: Any, src_lengths: Any, **kwargs: Any) -> Any:
        """Sentences to score or to continue, one example each.

        They begin with eos (with `add_bos_token` bos), without the eos at their end; the last target is padding.
        """
        return self.starting_with(src_tokens, src_lengths, self._first_token())

    def starting_with(self, src_tokens: Any, src_lengths: Any, first: int) -> Any:
        """`build_dataset_for_inference`, of sentences that begin with the token `first`."""
        assert self.dictionary is not None
        pad, eos = self.dictionary.pad(), self.dictionary.eos()
        sentences = StripTokenDataset(
            TokenBlockDataset(src_tokens, src_lengths, block_size=None, pad=pad, eos=eos, break_mode="eos"), eos
        )
        source = PrependTokenDataset(sentences, first)
        target = AppendTokenDataset(sentences, pad)
        return NestedDictionaryDataset(
            {
                "id": IdDataset(),
                "net_input": {
                    "src_tokens": PadDataset(source, pad_idx=pad, left_pad=False),
                    "src_lengths": NumelDataset(source, reduce=False),
                },
                "target": PadDataset(target, pad_idx=pad, left_pad=False),
            },
            sizes=[np.array(src_lengths)],
        )

    def _first_token(self) -> int:
        assert self.dictionary is not None
        return self.dictionary.bos() if self.args.add_bos_token else self.dictionary.eos()

    def inference_step(
        self, generator: Any, models: list[Any], sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        """Continuations of a batch: without `prefix_tokens` of its own sentences."""
        return self.continued(generator, models, sample, self._first_token(), prefix_tokens, constraints)

    def continued(
        self, generator: Any, models: list[Any], sample: Any, first: int, prefix_tokens: Any, constraints: Any
    ) -> Any:
        """`inference_step`, of sentences that begin with the token `first`."""
        if constraints is not None:
            raise ConfigError("generation.constraints: a language model has no source to constrain")
        with torch.no_grad():
            source = sample["net_input"]["src_tokens"]
            if prefix_tokens is None and source.nelement():
                prefix_tokens = source[:, 1:] if source[:, 0].eq(first).all() else source
            return generator.generate(models, sample, prefix_tokens=prefix_tokens, bos_token=first)

    def eval_lm_dataloader(
        self,
        dataset: Any,
        max_tokens: Optional[int] = 36000,
        batch_size: Optional[int] = None,
        max_positions: Optional[int] = None,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 1,
        data_buffer_size: int = 10,
        context_window: int = 0,
    ) -> Any:
        """Batches of a split for scoring, each block after `context_window` tokens of context."""
        if context_window > 0:
            assert self.dictionary is not None
            dataset = LMContextWindowDataset(
                dataset, self.args.tokens_per_sample, context_window, self.dictionary.pad()
            )
        return self.get_batch_iterator(
            dataset=dataset,
            max_tokens=max_tokens,
            max_sentences=batch_size,
            max_positions=max_positions,
            ignore_invalid_inputs=True,
            num_shards=num_shards,
            shard_id=shard_id,
            num_workers=num_workers,
            data_buffer_size=data_buffer_size,
        ).next_epoch_itr(shuffle=False)

    @property
    def source_dictionary(self) -> Optional[Dictionary]:
        return self.dictionary

    @property
    def target_dictionary(self) -> Optional[Dictionary]:
        return self.output_dictionary
