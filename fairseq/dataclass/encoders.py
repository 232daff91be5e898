"""Configs of subword encoders (`bpe`) and tokenizers.

>>> CharactersConfig()
CharactersConfig(_name=None)
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import MISSING, FairseqDataclass, option


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
