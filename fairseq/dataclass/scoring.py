"""Configs of scorers for generated text.

>>> SacrebleuConfig().sacrebleu_tokenizer
'13a'
"""

from dataclasses import dataclass

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.ranges import at_least


@dataclass
class BleuConfig(FairseqDataclass):
    """`scoring=bleu`: BLEU of the tokens as they are; taken from the dictionary in a run."""

    pad: int = option(1, "padding index", within=at_least(0))
    eos: int = option(2, "end-of-sentence index", within=at_least(0))
    unk: int = option(3, "index of unknown symbols, which match nothing", within=at_least(0))


@dataclass
class SacrebleuConfig(FairseqDataclass):
    """`scoring=sacrebleu`: BLEU of detokenised text by the sacrebleu library."""

    sacrebleu_tokenizer: str = option("13a", "tokenizer of the library: 13a, intl, char, zh, ja-mecab, none, ...")
    sacrebleu_lowercase: bool = option(False, "compare lower-cased text")
    sacrebleu_char_level: bool = option(False, "compare characters instead of words")


@dataclass
class ChrFConfig(FairseqDataclass):
    """`scoring=chrf`: F-score of character n-grams by the sacrebleu library."""


@dataclass
class WerConfig(FairseqDataclass):
    """`scoring=wer`: word error rate."""

    wer_tokenizer: str = option("none", "tokenizer of the sacrebleu library: none, 13a, intl, zh, ...")
    wer_remove_punct: bool = option(False, "leave out words that are punctuation")
    wer_char_level: bool = option(False, "compare characters instead of words")
    wer_lowercase: bool = option(False, "compare lower-cased text")


@dataclass
class MeteorConfig(FairseqDataclass):
    """`scoring=meteor`: METEOR by the nltk library."""


@dataclass
class BertScoreConfig(FairseqDataclass):
    """`scoring=bert_score`: BERTScore by the bert-score library."""

    bert_score_lang: str = option("en", "language of the texts, which chooses the model")
