"""`task=multilingual_language_modeling`: predict each next token of texts in several languages.

    cc-bin/{dict.txt,de/train.bin,de/train.idx,de/valid.bin,...,en/train.bin,...}

`multilang_sampling_alpha` says how often each language is drawn, see `fairseq.tasks.languages`. `valid_de` is the split
`valid` of one language. With `add_bos_token` the dictionary has a token for each language, which text to continue
begins with.
"""

import logging
import os
from typing import Any, Optional

from torch import Tensor

from fairseq.data import Dictionary, SortDataset
from fairseq.dataclass.language_tasks import MultilingualLanguageModelingConfig
from fairseq.errors import ConfigError
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.languages import languages_in, load_languages, sample_probabilities
from fairseq.tasks.running_text import part_of_epoch

__all__ = ["MultilingualLanguageModelingConfig", "MultilingualLanguageModelingTask", "lang_token"]

logger = logging.getLogger(__name__)


def lang_token(lang: str) -> str:
    """The token of a language.

    >>> lang_token("en_XX")
    '<en_XX>'
    """
    return f"<{lang}>"


@register_task("multilingual_language_modeling", dataclass=MultilingualLanguageModelingConfig)
class MultilingualLanguageModelingTask(LanguageModelingTask):
    """Language modelling in several languages; see the head of this file."""

    @staticmethod
    def _get_langs(args: Any, epoch: int = 1) -> list[str]:
        return sorted(languages_in(part_of_epoch(args.data, epoch), args.langs))

    @classmethod
    def setup_dictionary(cls, args: Any, **kwargs: Any) -> tuple[Optional[Dictionary], Optional[Dictionary]]:
        """The dictionary of `args.data`, with the languages' tokens where `args.add_bos_token`."""
        dictionary, predicted = super().setup_dictionary(args, **kwargs)
        if dictionary is not None and args.add_bos_token:
            for language in cls._get_langs(args):
                dictionary.add_symbol(lang_token(language))
            predicted = cls._predicted(args, dictionary)
        return dictionary, predicted

    def _get_sample_prob(self, dataset_lens: Any) -> Any:
        return sample_probabilities(dataset_lens, self.args.multilang_sampling_alpha)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> SortDataset:  # type: ignore[override]
        """Load a split in all languages.

        Raises:
            DataError: missing or empty in one.
        """
        args = self.args
        if not args.data:
            raise ConfigError("task.data is not set: give the folder that has a folder for each language")
        folder = part_of_epoch(args.data, epoch)
        loaded = load_languages(
            split,
            self._get_langs(args, epoch),
            lambda language, split: self.read(os.path.join(folder, language), split, combine),
            lambda dataset: dataset.sizes,
            resampled=split == args.train_subset,
            alpha=args.multilang_sampling_alpha,
            seed=args.seed,
            epoch=epoch,
            logger=logger,
        )
        self.datasets.update(loaded)
        return loaded[split]  # type: ignore[no-any-return]

    def build_dataset_for_inference(  # type: ignore[override]
        self, src_tokens: list[Tensor], src_lengths: Any, language: str = "en_XX", **kwargs: Any
    ) -> Any:
        """Sentences of one language, as of `LanguageModelingTask`."""
        return self.starting_with(src_tokens, src_lengths, self._token_of(language))

    def inference_step(  # type: ignore[override]
        self,
        generator: Any,
        models: list[Any],
        sample: Any,
        language: str = "en_XX",
        prefix_tokens: Any = None,
        constraints: Any = None,
    ) -> Any:
        """Continuations of a batch in one language."""
        return self.continued(generator, models, sample, self._token_of(language), prefix_tokens, constraints)

    def _token_of(self, language: str) -> int:
        """The token that text of a language begins with; an unknown word for a language that is not there."""
        assert self.dictionary is not None
        return self.dictionary.index(lang_token(language)) if self.args.add_bos_token else self.dictionary.eos()
