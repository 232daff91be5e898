"""Sentences -> ids of a dictionary, by the tokenizer files in a folder.

    encoder = sentence_encoder(Path("gpt2_bpe"))       # its three files, or an imported model's
    items = encoder.encode(["Hello world!"])            # an iterator of arrays, each ended by eos

The library's threads encode a few thousand sentences at a time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders import hf_tokenizer
from fairseq.data.encoders.gpt2_bpe import get_encoder
from fairseq.data.encoders.special_tokens import find_special_tokens, renamed

_BATCH = 4096  # sentences encoded at a time


class RobertaEncoder:
    """Sentences -> ids of RoBERTa's dictionary, each ended by eos."""

    def __init__(self, bpe_dir: Path):
        self.dictionary = Dictionary.load(str(bpe_dir / "dict.txt"))
        self._bpe = get_encoder(str(bpe_dir / "encoder.json"), str(bpe_dir / "vocab.bpe"))
        symbols = map(str, range(self._bpe.num_ids))
        self._ids = np.array([self.dictionary.index(symbol) for symbol in symbols])  # by BPE id

    def encode(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        for bpe_ids in self._bpe.encode_arrays(sentences):
            yield np.append(self._ids[bpe_ids], self.dictionary.eos())


class PieceEncoder:
    """Sentences -> ids of a dictionary with the pieces of a `tokenizers.Tokenizer`, each ended by eos."""

    def __init__(self, tokenizer: Any, dictionary: Dictionary):
        self.dictionary = dictionary
        self._tokenizer = tokenizer
        vocab = tokenizer.get_vocab()
        symbols = renamed(vocab, find_special_tokens(vocab))
        self._ids = {number: dictionary.index(symbols.get(piece, piece)) for piece, number in vocab.items()}

    @classmethod
    def of_folder(cls, bpe_dir: Path) -> "PieceEncoder":
        """By an imported model's `tokenizer.json` or `vocab.txt`, and its `dict.txt`."""
        dictionary = Dictionary.load(str(bpe_dir / "dict.txt"))
        if (bpe_dir / "tokenizer.json").exists():
            return cls(hf_tokenizer.from_json(str(bpe_dir / "tokenizer.json")), dictionary)
        cased = not hf_tokenizer.lower_case(bpe_dir)
        return cls(hf_tokenizer.wordpiece(str(bpe_dir / "vocab.txt"), cased=cased), dictionary)

    def encode(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        for start in range(0, len(sentences), _BATCH):
            batch = list(sentences[start : start + _BATCH])
            for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False):
                ids = [self._ids[number] for number in encoding.ids]
                yield np.array([*ids, self.dictionary.eos()])


def sentence_encoder(bpe_dir: Path) -> "RobertaEncoder | PieceEncoder":
    """What turns sentences into ids, by the files in `bpe_dir`."""
    imported = any((bpe_dir / name).exists() for name in ("tokenizer.json", "vocab.txt"))
    if imported and not (bpe_dir / "encoder.json").exists():
        return PieceEncoder.of_folder(bpe_dir)
    return RobertaEncoder(bpe_dir)
