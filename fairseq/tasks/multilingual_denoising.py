"""`task=multilingual_denoising`: denoising of texts in several languages, as mBART is pre-trained (Liu et al.,
arXiv:2001.08210).

    cc-bin/{dict.txt,de/train.bin,de/train.idx,de/valid.bin,...,en/train.bin,...}

Noise is that of `task=denoising`; `multilang_sampling_alpha` says how often each language is drawn, see
`fairseq.tasks.languages`. `valid_de` is the split `valid` of one language.
"""

import logging
import os
from typing import Any, Optional

from torch import Tensor

from fairseq import utils
from fairseq.data import Dictionary
from fairseq.dataclass.pretraining import MultilingualDenoisingConfig
from fairseq.tasks import register_task
from fairseq.tasks.denoising import DenoisingTask
from fairseq.tasks.languages import languages_in, load_languages, sample_probabilities
from fairseq.tasks.running_text import part_of_epoch, split_text

__all__ = ["MultilingualDenoisingConfig", "MultilingualDenoisingTask"]

logger = logging.getLogger(__name__)


@register_task("multilingual_denoising", dataclass=MultilingualDenoisingConfig)
class MultilingualDenoisingTask(DenoisingTask):
    """Denoising in several languages; see the head of this file."""

    @classmethod
    def dictionary_of(cls, cfg: Any) -> Dictionary:
        """The dictionary of `cfg.data`, with `[LANGUAGE]` for each where those end examples."""
        dictionary = super().dictionary_of(cfg)
        if cfg.add_lang_token:
            for language in languages_in(utils.split_paths(cfg.data)[0], cfg.langs):
                dictionary.add_symbol(f"[{language}]")
        return dictionary

    def _get_sample_prob(self, dataset_lens: Any) -> Any:
        return sample_probabilities(dataset_lens, self.cfg.multilang_sampling_alpha)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split in all languages.

        Raises:
            DataError: missing or empty in one.
        """
        cfg = self.cfg
        folder = part_of_epoch(cfg.data, epoch)
        words = self.words()

        def load(language: str, split: str) -> Any:
            end = self.dictionary.index(f"[{language}]") if cfg.add_lang_token else self.dictionary.eos()
            text = split_text(cfg, os.path.join(folder, language), split, self.dictionary, combine)
            blocks = self.blocks_of(text, end, document_sep_len=1)
            logger.info(f"loaded {len(blocks)} blocks from: {folder}/{language}/{split}")
            return self.noisy(blocks, self._words_of(language, words), end)

        loaded = load_languages(
            split,
            languages_in(folder, cfg.langs),
            load,
            lambda dataset: dataset.sizes,
            resampled=split == cfg.train_subset,
            alpha=cfg.multilang_sampling_alpha,
            seed=cfg.seed,
            epoch=epoch,
            logger=logger,
        )
        self.datasets.update(loaded)

    def _words_of(self, language: str, words: Optional[Tensor]) -> Optional[Tensor]:
        return None if language in self.cfg.no_whole_word_mask_langs.split(",") else words
