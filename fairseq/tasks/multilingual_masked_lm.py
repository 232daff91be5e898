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
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    RawLabelDataset,
    RightPadDataset,
)
from fairseq.dataclass.pretraining import MultilingualMaskedLMConfig
from fairseq.tasks import register_task
from fairseq.tasks.languages import languages_in, load_languages, sample_probabilities
from fairseq.tasks.masked_lm import MaskedLMTask
from fairseq.tasks.running_text import part_of_epoch

logger = logging.getLogger(__name__)


@register_task("multilingual_masked_lm", dataclass=MultilingualMaskedLMConfig)
class MultiLingualMaskedLMTask(MaskedLMTask):
    """Masked language modelling in several languages; see the head of this file.

    Args:
        args: a `MultilingualMaskedLMConfig` node.
        dictionary: of the text; `<mask>` is added where it is missing.
    """

    def __init__(self, args: Any, dictionary: Optional[Dictionary] = None):
        super().__init__(args, dictionary)
        self.args = args

    def _get_whole_word_mask(self) -> Any:
        return self._word_starts()

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
            source, target = self._masked(blocks, words)
            return self._examples(source, target, languages.index(language))

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

    def _examples(self, source: Any, target: Any, language: int) -> NestedDictionaryDataset:
        pad = self.dictionary.pad()
        return NestedDictionaryDataset(
            {
                "net_input": {
                    "src_tokens": RightPadDataset(source, pad_idx=pad),
                    "src_lengths": NumelDataset(source, reduce=False),
                },
                "target": RightPadDataset(target, pad_idx=pad),
                "nsentences": NumSamplesDataset(),
                "ntokens": NumelDataset(source, reduce=True),
                "lang_id": RawLabelDataset([language] * len(source)),
            },
            sizes=[source.sizes],
        )
