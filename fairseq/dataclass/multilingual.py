"""Configs of tasks with several languages.

>>> MultilingualTranslationConfig(lang_pairs="de-en,fr-en").left_pad_source
'True'
"""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.constants import (
    DATASET_IMPL_CHOICES,
    SAMPLING_METHOD_CHOICES,
    EncoderLangtok,
    LangTokStyle,
)
from fairseq.dataclass.ranges import above, at_least


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
    encoder_langtok: Optional[EncoderLangtok] = option(
        None, "end sources with the token of the source's language (src) or the target's (tgt) in place of </s>"
    )
    decoder_langtok: bool = option(False, "begin decoder inputs with the token of the target's language")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")


@dataclass
class TranslationMultiSimpleEpochConfig(FairseqDataclass):
    """`task=translation_multi_simple_epoch`: one model for pairs of many languages, mixed by shares."""

    data: Optional[str] = option(
        None,
        "folder with pairs of binarised texts; of several, separated by colons, each epoch trains on one",
        path="in",
    )
    lang_pairs: Any = option(None, "pairs of languages to train, as de-en,fr-en,en-fr, or a file with such a list")
    source_lang: Optional[str] = option(None, "source language to translate from; not for training", alias=["-s"])
    target_lang: Optional[str] = option(None, "target language to translate into; not for training", alias=["-t"])
    langs: Any = option(
        None, "languages that have tokens, in the order of their ids, as de,en,fr; default: those of lang_pairs, sorted"
    )
    lang_dict: Optional[str] = option(None, "a file with such a list, one language a line", path="in")
    source_dict: Optional[str] = option(None, "dictionary of all source languages", path="in")
    target_dict: Optional[str] = option(None, "dictionary of all target languages", path="in")
    fixed_dictionary: Optional[str] = option(None, "dictionary of all languages", path="in")
    encoder_langtok: Optional[EncoderLangtok] = option(
        None, "put the token of the source's language (src) or the target's (tgt) in front of sources"
    )
    decoder_langtok: bool = option(False, "put the token of the target's language in front of targets")
    lang_tok_style: LangTokStyle = option(
        LangTokStyle.multilingual, "how tokens are written: __de__ (multilingual) or [de_DE] (mbart)"
    )
    lang_tok_replacing_bos_eos: bool = option(
        False, "tokens take the place of the source's </s> and of what decoder inputs begin with"
    )
    keep_inference_langtok: bool = option(False, "print language tokens in outputs")
    langtoks_specs: Any = option("main", "kinds of data with tokens of their own, separated by commas")
    langtoks: Any = option(
        None, """tokens by kind of data, as {"mined": ("src", "tgt")}; default for main: what the two flags say"""
    )
    enable_lang_ids: bool = option(False, "put the numbers of the languages into batches")
    sampling_method: SAMPLING_METHOD_CHOICES = option(
        SAMPLING_METHOD_CHOICES.concat, "how often pairs are seen: as they are (concat), uniform, or by temperature"
    )
    sampling_temperature: float = option(
        1.5, "shares go with size ** (1 / temperature): the higher, the more alike", within=above(0)
    )
    sampling_weights: Any = option(None, """shares by data set, as {"main:de-en": 0.2, "mined:fr-en": 0.8}""")
    sampling_weights_from_file: Optional[str] = option(None, "a file with such shares", path="in")
    virtual_epoch_size: Optional[int] = option(None, "sentences of an epoch: a part of the mixture", within=at_least(1))
    virtual_data_size: Optional[int] = option(None, "sentences of the whole mixture", within=at_least(1))
    extra_data: Any = option(None, """further folders by kind of data, as {"mined": "mined-bin"}""")
    extra_lang_pairs: Any = option(None, """their pairs of languages, as {"mined": "de-en,fr-en"}""")
    load_alignments: bool = option(False, "load the word alignments of the pairs")
    left_pad_source: str = option("True", "pad sources on the left: True or False")
    left_pad_target: str = option("False", "pad targets on the left: True or False")
    max_source_positions: int = option(1024, "tokens in a source at most", within=at_least(1))
    max_target_positions: int = option(1024, "tokens in a target at most", within=at_least(1))
    upsample_primary: int = option(1, "repeat train so many times beside train1, train2, ...", within=at_least(1))
    truncate_source: bool = option(False, "shorten sources to max_source_positions instead of leaving them out")
    seed: int = option(II("common.seed"), "seed of what is drawn; follows common.seed")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")
