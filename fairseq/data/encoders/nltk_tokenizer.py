"""`tokenizer=nltk`: words and punctuation by the nltk library's Treebank tokenizer."""

from typing import Any

from fairseq.data.encoders import register_tokenizer
from fairseq.data.encoders.libraries import library
from fairseq.dataclass.encoders import NLTKTokenizerConfig
from fairseq.errors import ConfigError


@register_tokenizer("nltk", dataclass=NLTKTokenizerConfig)
class NLTKTokenizer:
    """Splits text; words stay as they are."""

    def __init__(self, *unused: Any):
        self.word_tokenize = library("nltk.tokenize", "nltk", "tokenizer=nltk").word_tokenize

    def encode(self, x: str) -> str:
        try:
            return " ".join(self.word_tokenize(x))
        except LookupError:
            raise ConfigError("tokenizer=nltk needs the data of nltk: python -m nltk.downloader punkt_tab") from None

    def decode(self, x: str) -> str:
        return x
