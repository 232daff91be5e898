"""`task=multilingual_masked_lm`: predict the masked tokens of texts in several languages (XLM-R; Conneau et al.,
arXiv:1911.02116).

    cc-bin/{dict.txt,de/train.bin,de/train.idx,de/valid.bin,...,en/train.bin,...}

`multilang_sampling_alpha` says how often each language is drawn, see `fairseq.tasks.languages`. `valid_de` is the
split `valid` of one language.
"""

import logging
import os
from typing import Any, Optional

from fairseq.data import (
    Dictionary,
    IdDataset,
    MaskTokensDataset,
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    PadDataset,
    PrependTokenDataset,
    RawLabelDataset,
    SortDataset,
    TokenBlockDataset,
)
from fairseq.dataclass.pretraining import MultilingualMaskedLMConfig
from fairseq.file_io import exists
from fairseq.tasks import register_task
from fairseq.tasks.dictionaries import CarriesDictionaries, carried
from fairseq.tasks.languages import languages_in, load_languages, sample_probabilities
from fairseq.tasks.running_text import dictionary_path, part_of_epoch, split_text, text_dictionary, word_starts

logger = logging.getLogger(__name__)


@register_task("multilingual_masked_lm", dataclass=MultilingualMaskedLMConfig)
class MultiLingualMaskedLMTask(CarriesDictionaries):
    """Masked language modelling in several languages; see the head of this file.

    Args:
        args: a `MultilingualMaskedLMConfig` node.
        dictionary: of the text; `<mask>` is added where it is missing.
    """

    def __init__(self, args: Any, dictionary: Dictionary):
        super().__init__(args)
        self.args = args
        self.dictionary = dictionary
        self.mask_idx = dictionary.add_symbol("<mask>")

    @classmethod
    def setup_task(  # type: ignore[override]
        cls, args: Any, task_state: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> "MultiLingualMaskedLMTask":
        """Load the dictionary from `args.data`; without that folder, from the state that a checkpoint carries."""
        dictionary = carried(task_state, "source")
        if dictionary is None or exists(dictionary_path(args.data)):
            dictionary = text_dictionary(args.data, logger)
        return cls(args, dictionary, **kwargs)

    def dictionaries(self) -> dict[str, Dictionary]:
        return {"source": self.dictionary}

    def _get_whole_word_mask(self) -> Any:
        return word_starts(self.args, self.dictionary, "task.mask_whole_words")

    def _get_sample_prob(self, dataset_lens: Any) -> Any:
        return sample_probabilities(dataset_lens, self.args.multilang_sampling_alpha)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split in all languages.

        Raises:
            DataError: missing or empty in one.
        """
        args = self.args
        folder = part_of_epoch(args.data, epoch)
        words = self._get_whole_word_mask() if args.mask_whole_words else None
        languages = languages_in(folder)

        def load(language: str, split: str) -> Any:
            blocks = self._blocks(os.path.join(folder, language), split, combine)
            return self._masked(blocks, words, languages.index(language))

        loaded = load_languages(
            split,
            languages,
            load,
            lambda dataset: dataset.sizes,
            resampled=split == args.train_subset,
            alpha=args.multilang_sampling_alpha,
            seed=args.seed,
            epoch=epoch,
            logger=logger,
        )
        self.datasets.update(loaded)

    def _blocks(self, folder: str, split: str, combine: bool) -> Any:
        text = split_text(self.args, folder, split, self.dictionary, combine)
        blocks = TokenBlockDataset(
            text,
            text.sizes,
            self.args.tokens_per_sample - 1,  # one less for <s>
            pad=self.dictionary.pad(),
            eos=self.dictionary.eos(),
            break_mode=str(self.args.sample_break_mode),
        )
        logger.info(f"loaded {len(blocks)} blocks from: {folder}/{split}")
        return PrependTokenDataset(blocks, self.dictionary.bos())

    def _masked(self, blocks: Any, words: Any, language: int) -> NestedDictionaryDataset:
        args, pad = self.args, self.dictionary.pad()
        source, target = MaskTokensDataset.apply_mask(
            blocks,
            self.dictionary,
            pad_idx=pad,
            mask_idx=self.mask_idx,
            seed=args.seed,
            mask_prob=args.mask_prob,
            leave_unmasked_prob=args.leave_unmasked_prob,
            random_token_prob=args.random_token_prob,
            freq_weighted_replacement=args.freq_weighted_replacement,
            mask_whole_words=words,
        )
        return NestedDictionaryDataset(
            {
                "net_input": {
                    "src_tokens": PadDataset(source, pad_idx=pad, left_pad=False),
                    "src_lengths": NumelDataset(source, reduce=False),
                },
                "target": PadDataset(target, pad_idx=pad, left_pad=False),
                "nsentences": NumSamplesDataset(),
                "ntokens": NumelDataset(source, reduce=True),
                "lang_id": RawLabelDataset([language] * len(source)),
            },
            sizes=[source.sizes],
        )

    def build_dataset_for_inference(self, src_tokens: Any, src_lengths: Any, sort: bool = True, **kwargs: Any) -> Any:
        """Sentences to predict in, one example each, shortest first with `sort`."""
        pad, eos = self.dictionary.pad(), self.dictionary.eos()
        blocks = TokenBlockDataset(
            src_tokens, src_lengths, self.args.tokens_per_sample - 1, pad=pad, eos=eos, break_mode="eos"
        )
        source = PrependTokenDataset(blocks, self.dictionary.bos())
        net_input = {
            "src_tokens": PadDataset(source, pad_idx=pad, left_pad=False),
            "src_lengths": NumelDataset(source, reduce=False),
        }
        dataset = NestedDictionaryDataset({"id": IdDataset(), "net_input": net_input}, sizes=src_lengths)
        return SortDataset(dataset, sort_order=[src_lengths]) if sort else dataset

    def max_positions(self) -> int:
        return self.args.tokens_per_sample  # type: ignore[no-any-return]

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary
