"""Configs of subword encoders (`bpe`) and tokenizers.

>>> CharactersConfig()
CharactersConfig(_name=None)
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import MISSING, FairseqDataclass, option
from fairseq.dataclass.ranges import at_least


@dataclass
class GPT2BPEConfig(FairseqDataclass):
    """`bpe=gpt2`: GPT-2's byte-level BPE, as RoBERTa uses it."""

    gpt2_encoder_json: str = option(
        "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/encoder.json", "encoder.json: a path or an address", path="in"
    )
    gpt2_vocab_bpe: str = option(
        "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/vocab.bpe", "vocab.bpe: a path or an address", path="in"
    )


@dataclass
class HuggingFaceByteLevelBPEConfig(FairseqDataclass):
    """`bpe=hf_byte_bpe`: byte-level BPE from merges.txt and vocab.json."""

    bpe_merges: str = option(MISSING, "path of merges.txt", path="in")
    bpe_vocab: str = option(MISSING, "path of vocab.json", path="in")
    bpe_add_prefix_space: bool = option(False, "put a space in front of the text")


@dataclass
class BertBPEConfig(FairseqDataclass):
    """`bpe=bert`: BERT's WordPiece from a vocab.txt."""

    bpe_cased: bool = option(False, "keep upper case and accents")
    bpe_vocab_file: Optional[str] = option(None, "path of vocab.txt", path="in")


@dataclass
class HuggingFaceTokenizerConfig(FairseqDataclass):
    """`bpe=hf_tokenizer`: the tokenizer that a Hugging Face tokenizer.json describes (such as XLM-R's pieces)."""

    bpe_tokenizer_json: str = option(MISSING, "path of tokenizer.json", path="in")


@dataclass
class CharactersConfig(FairseqDataclass):
    """`bpe=characters`: every character is a token."""


@dataclass
class SpaceTokenizerConfig(FairseqDataclass):
    """`tokenizer=space`: words are separated by white space."""


@dataclass
class SentencepieceConfig(FairseqDataclass):
    """`bpe=sentencepiece`: pieces of a model of the sentencepiece library."""

    sentencepiece_model: str = option(MISSING, "path of the model", path="in")
    sentencepiece_enable_sampling: bool = option(False, "draw one of the ways to split a text")
    sentencepiece_alpha: Optional[float] = option(
        None, "flatness of the distribution that it is drawn from", within=at_least(0)
    )


@dataclass
class ByteBpeConfig(FairseqDataclass):
    """`bpe=byte_bpe`: pieces of bytes of a model of the sentencepiece library."""

    sentencepiece_model_path: str = option(MISSING, "path of the model", path="in")


@dataclass
class SubwordNMTBPEConfig(FairseqDataclass):
    """`bpe=subword_nmt`: byte-pair encoding by a file of merges."""

    bpe_codes: str = option(MISSING, "path of the merges", path="in")
    bpe_separator: str = option("@@", "mark at the end of a piece inside a word")


@dataclass
class FastBPEConfig(FairseqDataclass):
    """`bpe=fastbpe`: byte-pair encoding by a file of fastBPE."""

    bpe_codes: str = option(MISSING, "path of the merges", path="in")


@dataclass
class BytesConfig(FairseqDataclass):
    """`bpe=bytes`: every byte is a token."""


@dataclass
class MosesTokenizerConfig(FairseqDataclass):
    """`tokenizer=moses`: the tokenizer of the Moses toolkit."""

    # flags of the task, too, whose own defaults count there
    source_lang: str = option("en", "language that is split", delete_default=True)
    target_lang: str = option("en", "language that is joined", delete_default=True)
    moses_no_dash_splits: bool = option(False, "keep words with dashes in them whole")
    moses_no_escape: bool = option(False, "keep &, <, > and quotation marks as they are")


@dataclass
class NLTKTokenizerConfig(FairseqDataclass):
    """`tokenizer=nltk`: the Treebank tokenizer of the nltk library."""
