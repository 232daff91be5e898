"""`tokenizer=moses`: the tokenizer of the Moses toolkit, by the sacremoses library.

MosesTokenizer(MosesTokenizerConfig(source_lang="de")).encode("Hallo, Welt!")    # "Hallo , Welt !"
"""

from typing import Any

from fairseq.data.encoders import register_tokenizer
from fairseq.data.encoders.libraries import library
from fairseq.dataclass.encoders import MosesTokenizerConfig


@register_tokenizer("moses", dataclass=MosesTokenizerConfig)
class MosesTokenizer:
    """Splits text of the source language, and joins words of the target language."""

    def __init__(self, cfg: Any):
        sacremoses = library("sacremoses", "sacremoses", "tokenizer=moses")
        self.cfg = cfg
        self.tok = sacremoses.MosesTokenizer(cfg.source_lang)
        self.detok = sacremoses.MosesDetokenizer(cfg.target_lang)

    def encode(self, x: str) -> str:
        return self.tok.tokenize(
            x,
            aggressive_dash_splits=not self.cfg.moses_no_dash_splits,
            return_str=True,
            escape=not self.cfg.moses_no_escape,
        )

    def decode(self, x: str) -> str:
        return self.detok.detokenize(x.split())
