"""`task=masked_lm`: predict masked tokens of running text (BERT's and RoBERTa's pretraining).

    wiki-bin/{dict.txt,train.bin,train.idx,valid.bin,valid.idx}

The text is cut into blocks of `tokens_per_sample` (`<s>` included) as `sample_break_mode` says; `mask_prob` of the
tokens are to be predicted, or with `mask_whole_words` (and the `bpe` of the data) of the words. Masks depend on (seed,
epoch, example) and nothing else. With several folders (`a-bin:b-bin`) each epoch reads the next.
"""

import logging
import os
from typing import Any, Optional

import numpy as np

from fairseq.data import (
    Dictionary,
    IdDataset,
    MaskTokensDataset,
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    PrependTokenDataset,
    RightPadDataset,
    SortDataset,
    TokenBlockDataset,
    data_utils,
)
from fairseq.dataclass.tasks import MaskedLMConfig
from fairseq.errors import ConfigError
from fairseq.file_io import exists
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried
from fairseq.tasks.running_text import dictionary_path, part_of_epoch, split_text, text_dictionary, word_starts

logger = logging.getLogger(__name__)


@register_task("masked_lm", dataclass=MaskedLMConfig)
class MaskedLMTask(CarriesDictionaries):
    """Masked language modelling; see the head of this file.

    Args:
        cfg: a `MaskedLMConfig` node.
        dictionary: of the text; default: that of `cfg.data`.
    """

    def __init__(self, cfg: Any, dictionary: Optional[Dictionary] = None):
        super().__init__(cfg)
        self.dictionary = dictionary if dictionary is not None else self.load_dict(cfg)
        self.mask_idx = (
            self.dictionary.index("<mask>") if "<mask>" in self.dictionary else self.dictionary.add_symbol("<mask>")
        )

    @classmethod
    def setup_task(cls, cfg: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any) -> "MaskedLMTask":
        """Load the dictionary from `cfg.data`; without that folder, from the state that a checkpoint carries."""
        if getattr(cfg, "d2v2_multi", False):
            raise ConfigError("task.d2v2_multi is not supported; set it to false")
        dictionary = carried(task_state, "source")
        if dictionary is None or exists(dictionary_path(cfg.data)):
            dictionary = cls.load_dict(cfg)
        return cls(cfg, dictionary, **kwargs)

    @classmethod
    def load_dict(cls, cfg: Any) -> Dictionary:
        return text_dictionary(cfg.data, logger)

    def dictionaries(self) -> dict[str, Dictionary]:
        return {"source": self.dictionary}

    # -- data --------------------------------------------------------------------------------------------------------

    def _load_dataset_split(self, split: str, epoch: int, combine: bool) -> Any:
        """The blocks of a split, `<s>` in front of each."""
        return self._blocks(part_of_epoch(self.cfg.data, epoch), split, combine)

    def _blocks(self, folder: str, split: str, combine: bool) -> PrependTokenDataset:
        cfg = self.cfg
        text = split_text(cfg, folder, split, self.dictionary, combine)
        blocks = TokenBlockDataset(
            text,
            text.sizes,
            cfg.tokens_per_sample - 1,  # one less for <s>
            pad=self.dictionary.pad(),
            eos=self.dictionary.eos(),
            break_mode=str(cfg.sample_break_mode),
        )
        logger.info(f"loaded {len(blocks)} blocks from: {os.path.join(folder, split)}")
        return PrependTokenDataset(blocks, self.dictionary.bos())

    def _masked(self, blocks: Any, words: Any, **more: Any) -> Any:
        """(source, target) of blocks; `words` says which tokens begin one, None masks tokens."""
        cfg = self.cfg
        return MaskTokensDataset.apply_mask(
            blocks,
            self.dictionary,
            pad_idx=self.dictionary.pad(),
            mask_idx=self.mask_idx,
            seed=cfg.seed,
            mask_prob=cfg.mask_prob,
            leave_unmasked_prob=cfg.leave_unmasked_prob,
            random_token_prob=cfg.random_token_prob,
            freq_weighted_replacement=cfg.freq_weighted_replacement,
            mask_whole_words=words,
            **more,
        )

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: missing or empty.
        """
        cfg, pad = self.cfg, self.dictionary.pad()
        blocks = self._load_dataset_split(split, epoch, combine)
        if cfg.skip_masking:
            source = target = blocks
        else:
            source, target = self._masked(
                blocks,
                self._word_starts() if cfg.mask_whole_words else None,
                mask_multiple_length=cfg.mask_multiple_length,
                mask_stdev=cfg.mask_stdev,
            )
        with data_utils.numpy_seed(cfg.seed):
            shuffle = np.random.permutation(len(source))
        net_input: dict[str, Any] = {
            "src_tokens": RightPadDataset(source, pad_idx=pad),
            "src_lengths": NumelDataset(source, reduce=False),
        }
        if cfg.include_index:
            net_input["src_id"] = IdDataset()
        if cfg.include_target_tokens:
            net_input["target_tokens"] = RightPadDataset(target, pad_idx=pad)
        parts = {
            "id": IdDataset(),
            "net_input": net_input,
            "target": RightPadDataset(target, pad_idx=pad),
            "nsentences": NumSamplesDataset(),
            "ntokens": NumelDataset(source, reduce=True),
        }
        # by length, equal lengths in random order
        self.datasets[split] = SortDataset(
            NestedDictionaryDataset(parts, sizes=[source.sizes]), sort_order=[shuffle, source.sizes]
        )

    def _word_starts(self) -> Any:
        return word_starts(self.cfg, self.dictionary, "task.mask_whole_words")

    def build_dataset_for_inference(self, src_tokens: Any, src_lengths: Any, sort: bool = True, **kwargs: Any) -> Any:
        """Sentences to predict in, one example each, shortest first with `sort`."""
        blocks = TokenBlockDataset(
            src_tokens,
            src_lengths,
            self.cfg.tokens_per_sample - 1,
            pad=self.dictionary.pad(),
            eos=self.dictionary.eos(),
            break_mode="eos",
        )
        source = PrependTokenDataset(blocks, self.dictionary.bos())
        net_input = {
            "src_tokens": RightPadDataset(source, pad_idx=self.dictionary.pad()),
            "src_lengths": NumelDataset(source, reduce=False),
        }
        dataset = NestedDictionaryDataset({"id": IdDataset(), "net_input": net_input}, sizes=src_lengths)
        return SortDataset(dataset, sort_order=[src_lengths]) if sort else dataset

    def begin_epoch(self, epoch: int, model: Any) -> None:
        if hasattr(model, "set_epoch"):
            model.set_epoch(epoch)

    def max_positions(self) -> int:
        return self.cfg.tokens_per_sample

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary
