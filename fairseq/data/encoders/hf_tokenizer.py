"""`bpe=bert` and `bpe=hf_tokenizer`: pieces of a Hugging Face tokenizer, written as themselves.

    BertBPE(cfg).encode("Unaffordable!")        # "una ##fford ##able !"   (vocab.txt)

No special tokens are added: the task adds `<s>` and `</s>`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.special_tokens import SPECIAL, find_special_tokens, renamed
from fairseq.data.encoders.tokenizer_files import check_description, library_errors, read_json
from fairseq.dataclass.encoders import BertBPEConfig, HuggingFaceTokenizerConfig
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists


def wordpiece(vocab: str, cased: bool = False) -> Any:
    """BERT's tokenizer on a `vocab.txt`, as a `tokenizers.Tokenizer` without special tokens around the text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    _check(vocab)
    with library_errors(f"cannot read the WordPiece vocabulary {vocab}"):
        model = models.WordPiece.from_file(vocab, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer = Tokenizer(model)
    if tokenizer.token_to_id("[UNK]") is None:
        raise DataError(f"the WordPiece vocabulary {vocab} has no [UNK]; get the file again")
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def from_json(path: str) -> Any:
    """The tokenizer of a `tokenizer.json`, neither truncating nor padding."""
    from tokenizers import Tokenizer

    _check(path)
    check_description(read_json(path), path)
    with library_errors(f"cannot read the tokenizer {path}"):
        tokenizer = Tokenizer.from_file(path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode("a \u2603")  # what does not fit together may show only now, such as a missing unknown token
    return tokenizer


def lower_case(folder: Path) -> bool:
    """Whether BERT's tokenizer in `folder` lowers the case: what tokenizer_config.json says, else yes."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return True
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("do_lower_case", True))
    except (ValueError, AttributeError):
        raise DataError(f"{path} does not hold a tokenizer's settings; get the file again") from None


def _check(path: str) -> None:
    if not exists(path) or not os.path.isfile(path):
        raise DataError(f"no tokenizer file {path}; give the folder that fairseq-import-hf made")


class PieceEncoder:
    """Text <-> pieces between spaces. A piece that a dictionary calls otherwise, such as `[MASK]`, has that name."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        vocab = tokenizer.get_vocab()
        self._symbols = renamed(vocab, find_special_tokens(vocab))
        self._pieces = {symbol: piece for piece, symbol in self._symbols.items() if symbol not in SPECIAL}

    def encode(self, x: str) -> str:
        return self._line(self.tokenizer.encode(x, add_special_tokens=False).tokens)

    def encode_lines(self, lines: Sequence[str]) -> list[str]:
        """Many lines at once, in parallel threads."""
        encoded = self.tokenizer.encode_batch(list(lines), add_special_tokens=False)
        return [self._line(encoding.tokens) for encoding in encoded]

    def _line(self, tokens: list[str]) -> str:
        names = self._symbols
        line = " ".join([names.get(token, token) for token in tokens])
        if len(line.split()) == len(tokens):
            return line
        # an unknown stretch of text is its own piece, which white space in it would cut into several
        return " ".join([names.get(token, token if token.split() == [token] else "<unk>") for token in tokens])

    def decode(self, x: str) -> str:
        return self.tokenizer.decoder.decode([self._pieces.get(symbol, symbol) for symbol in x.split()])

    def offsets(self, x: str) -> list[tuple[int, int]]:
        """Where each piece of `x` begins and ends in it."""
        return list(self.tokenizer.encode(x, add_special_tokens=False).offsets)

    def text_of(self, piece: str) -> str:
        """The text that a piece adds after the text so far: a new word starts with a space."""
        if not self.is_beginning_of_word(piece):
            return self.decode(piece.removeprefix("##"))
        return " " + self.decode(piece).removeprefix(" ")

    def is_beginning_of_word(self, x: str) -> bool:
        raise NotImplementedError


@register_bpe("bert", dataclass=BertBPEConfig)
class BertBPE(PieceEncoder):
    """BERT's WordPiece."""

    def __init__(self, cfg: Any):
        if not cfg.bpe_vocab_file:
            raise ConfigError("bpe=bert needs bpe.bpe_vocab_file, the path of vocab.txt")
        super().__init__(wordpiece(cfg.bpe_vocab_file, cfg.bpe_cased))

    def is_beginning_of_word(self, x: str) -> bool:
        return not x.startswith("##")


@register_bpe("hf_tokenizer", dataclass=HuggingFaceTokenizerConfig)
class HuggingFaceTokenizer(PieceEncoder):
    """What a tokenizer.json describes."""

    def __init__(self, cfg: Any):
        super().__init__(from_json(cfg.bpe_tokenizer_json))

    def is_beginning_of_word(self, x: str) -> bool:
        """Whether the piece carries the mark of a space in front (XLM-R and BPE) or lacks WordPiece's `##`."""
        kind = type(self.tokenizer.model).__name__
        return not x.startswith("##") if kind == "WordPiece" else x.startswith(("\u2581", "\u0120"))
