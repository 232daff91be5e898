"""Configs of tasks that train models on text by itself: by denoising, by spans, and in several languages.

>>> DenoisingConfig(data="wiki-bin").mask_length
'subword'
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, MISSING, FairseqDataclass, option
from fairseq.dataclass.constants import (
    DATASET_IMPL_CHOICES,
    MASK_LENGTH_CHOICES,
    SAMPLE_BREAK_MODE_CHOICES,
    SHORTEN_METHOD_CHOICES,
)
from fairseq.dataclass.ranges import above, at_least, between
from fairseq.dataclass.tasks import TranslationConfig

_DATA = "folder with binarised text; several, separated by colons, are used in turn by epoch"
_LANGUAGES = "folder with dict.txt and a folder of binarised text for each language; several are used in turn by epoch"
_BREAKS = "none: fixed blocks; complete: whole sentences; complete_doc: whole sentences of one document; eos: one each"


@dataclass
class DenoisingConfig(FairseqDataclass):
    """`task=denoising`: restore text from a noisy version of it, as BART is pre-trained."""

    data: str = option(MISSING, _DATA, path="in")
    bpe: Optional[str] = option(None, "subword encoding of the data; default: the one that bpe chooses")
    tokens_per_sample: int = option(512, "tokens in an example at most", within=at_least(3))
    sample_break_mode: SAMPLE_BREAK_MODE_CHOICES = option(SAMPLE_BREAK_MODE_CHOICES.complete_doc, _BREAKS)
    replace_length: int = option(
        0, "tokens that stand for a masked run: 0, 1, or -1 for as many as it has", within=between(-1, 1)
    )
    mask: float = option(0.0, "share of words that are masked", within=between(0, 1))
    mask_random: float = option(0.0, "share of masks that are a random token instead", within=between(0, 1))
    insert: float = option(0.0, "share of the length that is inserted as masks", within=between(0, 1))
    permute: float = option(0.0, "share of subwords that change places (not supported)", within=between(0, 1))
    rotate: float = option(0.5, "share of examples that begin at another token", within=between(0, 1))
    poisson_lambda: float = option(3.0, "mean length of masked runs, with mask_length=span-poisson", within=above(0))
    shuffle_instance: float = option(
        0.0, "1: batch examples of equal lengths in random order; 0: in the order of the text", within=between(0, 1)
    )
    mask_length: MASK_LENGTH_CHOICES = option(  # type: ignore[valid-type]
        MASK_LENGTH_CHOICES("subword"), "what is masked: subwords, words, or runs of words; the last two need bpe"
    )
    # an integer as in fairseq 0.12, which reads no other from a checkpoint
    permute_sentences: int = option(-1, "1: all sentences change places; 0 or -1: none do", within=between(-1, 1))
    seed: int = option(II("common.seed"), "seed of noise and order; follows common.seed")
    shorten_method: SHORTEN_METHOD_CHOICES = option(
        SHORTEN_METHOD_CHOICES.none, "what happens to lines longer than tokens_per_sample"
    )
    shorten_data_split_list: str = option("", "splits to shorten, separated by commas; empty: all")
    max_source_positions: int = option(1024, "tokens in a source at most", within=at_least(3))
    max_target_positions: int = option(1024, "tokens in a target at most", within=at_least(1))
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")


@dataclass
class MultilingualDenoisingConfig(DenoisingConfig):
    """`task=multilingual_denoising`: denoising of texts in several languages, as mBART is pre-trained."""

    data: str = option(MISSING, _LANGUAGES, path="in")
    multilang_sampling_alpha: float = option(
        1.0, "draw languages by their share of the examples to this power; below 1 favours small ones", within=above(0)
    )
    add_lang_token: bool = option(False, "end every example with [LANGUAGE] instead of </s>")
    langs: Optional[str] = option(None, "languages, separated by commas; default: the folders in data")
    no_whole_word_mask_langs: str = option("", "languages without spaces between words, in which subwords are masked")
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")
    valid_subset: str = option(II("dataset.valid_subset"), "follows dataset.valid_subset")


@dataclass
class MultilingualMaskedLMConfig(FairseqDataclass):
    """`task=multilingual_masked_lm`: predict the masked tokens of texts in several languages (XLM-R)."""

    data: str = option(MISSING, _LANGUAGES, path="in")
    sample_break_mode: SAMPLE_BREAK_MODE_CHOICES = option(SAMPLE_BREAK_MODE_CHOICES.complete, _BREAKS)
    tokens_per_sample: int = option(512, "tokens in an example at most", within=at_least(2))
    mask_prob: float = option(0.15, "share of tokens to predict", within=between(0, 1))
    leave_unmasked_prob: float = option(0.1, "share of those that are unchanged", within=between(0, 1))
    random_token_prob: float = option(0.1, "share of those that become a random token", within=between(0, 1))
    freq_weighted_replacement: bool = option(False, "draw random tokens by their frequency instead of uniformly")
    mask_whole_words: bool = option(False, "mask all subwords of a word together; needs bpe")
    multilang_sampling_alpha: float = option(
        1.0, "draw languages by their share of the examples to this power; below 1 favours small ones", within=above(0)
    )
    bpe: Optional[str] = option(None, "subword encoding of the data; default: the one that bpe chooses")
    seed: int = option(II("common.seed"), "seed of masks and order; follows common.seed")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")


@dataclass
class SpanMaskedLMConfig(FairseqDataclass):
    """`task=span_masked_lm`: say what stood in the spans that were taken out, as T5 is pre-trained."""

    shuffle: bool = option(False, "batch examples of equal lengths in random order")
    noise_density: float = option(0.15, "share of tokens that is taken out", within=between(0, 1))
    mean_noise_span_length: float = option(3, "mean length of a span", within=at_least(1))
    data: str = option(MISSING, _DATA, path="in")
    sample_break_mode: SAMPLE_BREAK_MODE_CHOICES = option(SAMPLE_BREAK_MODE_CHOICES.none, _BREAKS)
    tokens_per_sample: int = option(1024, "tokens in an example at most", within=at_least(3))
    shorten_method: SHORTEN_METHOD_CHOICES = option(
        SHORTEN_METHOD_CHOICES.none, "what happens to lines longer than tokens_per_sample"
    )
    shorten_data_split_list: str = option("", "splits to shorten, separated by commas; empty: all")
    seed: int = option(II("common.seed"), "seed of spans and order; follows common.seed")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    max_source_positions: int = option(1024, "tokens in a source at most", within=at_least(3))
    max_target_positions: int = option(1024, "tokens in a target at most", within=at_least(1))
    include_target_tokens: bool = option(False, "put the target into the model's input too (not supported)")


@dataclass
class TranslationFromPretrainedBARTConfig(TranslationConfig):
    """`task=translation_from_pretrained_bart`: translation by a model that mBART's pre-training began."""

    langs: Optional[str] = option(None, "languages of the pre-training, separated by commas, in its order")
    prepend_bos: bool = option(False, "begin sources and targets with <s>")
