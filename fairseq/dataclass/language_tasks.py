"""Config of `task=multilingual_language_modeling`: language models of several languages.

>>> MultilingualLanguageModelingConfig(langs="de,en").multilang_sampling_alpha
1.0
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, option
from fairseq.dataclass.ranges import above, at_least
from fairseq.dataclass.tasks import LanguageModelingConfig


@dataclass
class MultilingualLanguageModelingConfig(LanguageModelingConfig):
    """`task=multilingual_language_modeling`: predict each next token of texts in several languages."""

    data: Optional[str] = option(
        None, "folder with a dictionary, and a folder of binarised text for each language; several by epoch", path="in"
    )
    max_source_positions: Optional[int] = option(None, "longest input of the model in tokens", within=at_least(1))
    multilang_sampling_alpha: Optional[float] = option(
        1.0, "draw languages by their share of the examples to this power; below 1 favours small ones", within=above(0)
    )
    langs: str = option("", "languages, separated by commas; default: all folders in data")
    baseline_model_langs: str = option("", "languages of the baseline model")
    baseline_model: str = option("", "model whose losses say how often a language is drawn")
    lang_to_offline_shard_ratio: str = option("", "file with the share of each language that the folder holds")
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")
    valid_subset: str = option(II("dataset.valid_subset"), "follows dataset.valid_subset")
