"""Configs of tasks with several languages.

>>> MultilingualTranslationConfig(lang_pairs="de-en,fr-en").left_pad_source
'True'
"""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.constants import DATASET_IMPL_CHOICES, LANGUAGE_TOKEN_CHOICES
from fairseq.dataclass.ranges import at_least


@dataclass
class MultilingualTranslationConfig(FairseqDataclass):
    """`task=multilingual_translation`: pairs of languages, each with an encoder and a decoder of its own or shared."""

    data: Optional[str] = option(
        None,
        "folder with pairs of binarised texts; of several, separated by colons, each epoch trains on one",
        path="in",
    )
    lang_pairs: Any = option(None, "pairs of languages to train, as de-en,fr-en,en-fr")
    source_lang: Optional[str] = option(None, "source language to translate from; not for training", alias=["-s"])
    target_lang: Optional[str] = option(None, "target language to translate into; not for training", alias=["-t"])
    left_pad_source: str = option("True", "pad sources on the left: True or False")
    left_pad_target: str = option("False", "pad targets on the left: True or False")
    max_source_positions: int = option(1024, "tokens in a source at most", within=at_least(1))
    max_target_positions: int = option(1024, "tokens in a target at most", within=at_least(1))
    upsample_primary: int = option(1, "repeat train so many times beside train1, train2, ...", within=at_least(1))
    encoder_langtok: Optional[LANGUAGE_TOKEN_CHOICES] = option(
        None, "end sources with the token of the source's language (src) or the target's (tgt) in place of </s>"
    )
    decoder_langtok: bool = option(False, "begin decoder inputs with the token of the target's language")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")
