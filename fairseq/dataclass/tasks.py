"""Configs of tasks.

>>> SentencePredictionConfig(data="RTE-bin", num_classes=2).max_positions
512
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, MISSING, FairseqDataclass, option
from fairseq.dataclass.constants import DATASET_IMPL_CHOICES, SAMPLE_BREAK_MODE_CHOICES, SHORTEN_METHOD_CHOICES
from fairseq.dataclass.ranges import at_least, between


@dataclass
class SentencePredictionConfig(FairseqDataclass):
    """`task=sentence_prediction`: a class or a number for one sentence or two."""

    data: str = option(
        MISSING, "folder with input0, label and, for pairs, input1, as fairseq-prepare-glue writes it", path="in"
    )
    num_classes: int = option(-1, "number of classes; 1 for a regression", within=at_least(1, also=-1))
    init_token: Optional[int] = option(None, "put this token in front of input0 (0 is <s>)", within=at_least(0))
    separator_token: Optional[int] = option(None, "put this token in front of input1 (2 is </s>)", within=at_least(0))
    no_shuffle: bool = option(False, "keep the examples in the order of the file")
    shorten_method: SHORTEN_METHOD_CHOICES = option(
        SHORTEN_METHOD_CHOICES.none, "what happens to inputs longer than max_positions"
    )
    shorten_data_split_list: str = option("", "splits to shorten, separated by commas; empty: all")
    add_prev_output_tokens: bool = option(False, "give the shifted input to the decoder of an encoder-decoder model")
    max_positions: int = option(512, "tokens in an example at most", within=at_least(1))
    regression_target: bool = option(II("criterion.regression_target"), "follows criterion.regression_target")
    classification_head_name: str = option(
        II("criterion.classification_head_name"), "follows criterion.classification_head_name"
    )
    seed: int = option(II("common.seed"), "seed of the order of examples; follows common.seed")
    d2v2_multi: bool = option(False, "prepare batches for data2vec 2.0 models")


@dataclass
class SentenceRankingConfig(FairseqDataclass):
    """`task=sentence_ranking`: the right one of several candidates for a context."""

    data: str = option(MISSING, "folder with input0 (contexts), input1, input2, ... (candidates) and label", path="in")
    num_classes: int = option(-1, "candidates", within=at_least(1, also=-1))
    init_token: Optional[int] = option(None, "put this token in front of a candidate (0 is <s>)", within=at_least(0))
    separator_token: Optional[int] = option(
        None, "put this token in front of the context (2 is </s>)", within=at_least(0)
    )
    no_shuffle: bool = option(False, "keep the examples in the order of the file")
    shorten_method: SHORTEN_METHOD_CHOICES = option(
        SHORTEN_METHOD_CHOICES.none, "what happens to inputs longer than max_positions"
    )
    shorten_data_split_list: str = option("", "splits to shorten, separated by commas; empty: all")
    max_option_length: Optional[int] = option(
        None, "tokens in a candidate at most, init_token included", within=at_least(1)
    )
    max_positions: int = option(512, "tokens in a candidate with its context at most", within=at_least(1))
    ranking_head_name: str = option(II("criterion.ranking_head_name"), "follows criterion.ranking_head_name")
    seed: int = option(II("common.seed"), "seed of the order of examples; follows common.seed")


@dataclass
class MaskedLMConfig(FairseqDataclass):
    """`task=masked_lm`: predict the masked tokens of running text."""

    data: str = option(
        MISSING, "folder with binarised text; several, separated by colons, are used in turn by epoch", path="in"
    )
    sample_break_mode: SAMPLE_BREAK_MODE_CHOICES = option(
        SAMPLE_BREAK_MODE_CHOICES.none,
        "none: fixed blocks; complete: whole sentences; complete_doc: whole sentences of one document; eos: one each",
    )
    tokens_per_sample: int = option(1024, "tokens in an example at most", within=at_least(1))
    mask_prob: float = option(0.15, "share of tokens to predict", within=between(0, 1))
    leave_unmasked_prob: float = option(0.1, "share of those that are unchanged", within=between(0, 1))
    random_token_prob: float = option(
        0.1, "share of those that become a random token; the others become <mask>", within=between(0, 1)
    )
    freq_weighted_replacement: bool = option(False, "draw random tokens by their frequency instead of uniformly")
    mask_whole_words: bool = option(False, "mask all subwords of a word together; needs bpe")
    bpe: Optional[str] = option(None, "subword encoding of the data; default: the one that bpe chooses")
    mask_multiple_length: int = option(1, "mask runs of this many tokens", within=at_least(1))
    mask_stdev: float = option(0.0, "standard deviation of the length of masked runs", within=at_least(0))
    shorten_method: SHORTEN_METHOD_CHOICES = option(
        SHORTEN_METHOD_CHOICES.none, "what happens to inputs longer than tokens_per_sample"
    )
    shorten_data_split_list: str = option("", "splits to shorten, separated by commas; empty: all")
    seed: int = option(II("common.seed"), "seed of masks and order; follows common.seed")
    include_target_tokens: bool = option(False, "put the unmasked tokens into the batch too")
    include_index: bool = option(True, "put the example's number into the batch")
    skip_masking: bool = option(False, "mask nothing: the model masks for itself")
    d2v2_multi: bool = option(False, "prepare batches for data2vec 2.0 models")


@dataclass
class LanguageModelingConfig(FairseqDataclass):
    """`task=language_modeling`: predict each next token of running text."""

    data: Optional[str] = option(
        None, "folder with binarised text; several, separated by colons, are used in turn by epoch", path="in"
    )
    sample_break_mode: SAMPLE_BREAK_MODE_CHOICES = option(
        SAMPLE_BREAK_MODE_CHOICES.none,
        "none: fixed blocks; complete: whole sentences; complete_doc: whole sentences of one document; eos: one each",
    )
    tokens_per_sample: int = option(1024, "tokens in an example at most", within=at_least(1))
    output_dictionary_size: int = option(
        -1, "predict only so many of the most frequent words (-1: all)", within=at_least(1, also=-1)
    )
    self_target: bool = option(False, "predict the token itself")
    future_target: bool = option(False, "predict the next token; the default where no other target is chosen")
    past_target: bool = option(False, "predict the token before")
    add_bos_token: bool = option(False, "put <s> in front of each example")
    max_target_positions: Optional[int] = option(
        None, "longest input of the model in tokens; default: tokens_per_sample", within=at_least(1)
    )
    shorten_method: SHORTEN_METHOD_CHOICES = option(
        SHORTEN_METHOD_CHOICES.none, "what happens to lines longer than tokens_per_sample"
    )
    shorten_data_split_list: str = option("", "splits to shorten, separated by commas; empty: all")
    pad_to_fixed_length: Optional[bool] = option(False, "pad every batch to tokens_per_sample")
    pad_to_fixed_bsz: Optional[bool] = option(False, "pad every batch to batch_size examples")
    seed: int = option(II("common.seed"), "seed of shortening; follows common.seed")
    batch_size: Optional[int] = option(II("dataset.batch_size"), "follows dataset.batch_size", within=at_least(1))
    batch_size_valid: Optional[int] = option(
        II("dataset.batch_size_valid"), "follows dataset.batch_size_valid", within=at_least(1)
    )
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    data_buffer_size: int = option(
        II("dataset.data_buffer_size"), "follows dataset.data_buffer_size", within=at_least(0)
    )
    tpu: bool = option(II("common.tpu"), "follows common.tpu")
    use_plasma_view: bool = option(II("common.use_plasma_view"), "follows common.use_plasma_view")
    plasma_path: str = option(II("common.plasma_path"), "follows common.plasma_path")


@dataclass
class TranslationConfig(FairseqDataclass):
    """`task=translation`: sentences of one language into another."""

    data: Optional[str] = option(
        None,
        "folder with pairs of binarised texts; of several, separated by colons, each epoch trains on one",
        path="in",
    )
    source_lang: Optional[str] = option(None, "source language; default: that of the files", alias=["-s"])
    target_lang: Optional[str] = option(None, "target language; default: that of the files", alias=["-t"])
    load_alignments: bool = option(False, "load the word alignments of the pairs, as fairseq-preprocess binarised them")
    left_pad_source: bool = option(True, "pad sources on the left; the flag pads them on the right")
    left_pad_target: bool = option(False, "pad targets on the left")
    max_source_positions: int = option(1024, "tokens in a source at most", within=at_least(1))
    max_target_positions: int = option(1024, "tokens in a target at most", within=at_least(1))
    upsample_primary: int = option(
        -1, "repeat train so many times beside train1, train2, ... (-1: once)", within=at_least(1, also=-1)
    )
    truncate_source: bool = option(False, "shorten sources to max_source_positions instead of leaving them out")
    num_batch_buckets: int = option(
        0, "pad batches to one of so many lengths (0: to their longest example)", within=at_least(0)
    )
    train_subset: str = option(II("dataset.train_subset"), "follows dataset.train_subset")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = option(II("dataset.dataset_impl"), "follows dataset.dataset_impl")
    required_seq_len_multiple: int = option(
        II("dataset.required_seq_len_multiple"), "follows dataset.required_seq_len_multiple"
    )
    eval_bleu: bool = option(False, "validate with BLEU of generated text")
    eval_bleu_args: Optional[str] = option(
        "{}", """generation settings for it, a JSON object such as {"beam": 4, "lenpen": 0.6}"""
    )
    eval_bleu_detok: str = option("space", "tokenizer that joins words to text before they are scored, such as moses")
    eval_bleu_detok_args: Optional[str] = option("{}", "settings of that tokenizer, a JSON object")
    eval_tokenized_bleu: bool = option(False, "score words as they are, without a tokenizer of sacreBLEU's")
    eval_bleu_remove_bpe: Optional[str] = option(
        None, "undo the subword split before scoring: subword_nmt, sentencepiece, ... or the marker", const="@@ "
    )
    eval_bleu_print_samples: bool = option(False, "print one output of each batch beside its reference")
