"""Byte-level BPE (Radford et al. 2019) by the `tokenizers` library.

Text is cut into words by GPT-2's pattern, words into bytes, and bytes are merged by the learned merges. Every string of
Unicode text has an encoding, and decoding gives it back.

The library takes longer to cut text into words than to merge. Many lines are therefore cut by array operations
(`gpt2_split`), and only words that a bounded cache (`gpt2_words`) does not hold go through the library.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairseq.data.encoders.gpt2_split import Splitter
from fairseq.data.encoders.gpt2_words import WordCache
from fairseq.data.encoders.tokenizer_files import bpe_model
from fairseq.errors import DataError
from fairseq.file_io import exists

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BATCH = 1 << 18  # characters cut at a time: the arrays of a batch stay in the processor's cache
_FIRST_BATCH = 1 << 13  # batches grow: repeated new words in one batch are handled one by one


class ByteLevelBPE:
    """Encode text as BPE ids and back.

    Args:
        vocab: path of the JSON file that maps tokens to ids (`encoder.json`, `vocab.json`).
        merges: path of the merges, one a line after a version line (`vocab.bpe`, `merges.txt`).
        add_prefix_space: encode the first word as if a space stood before it.
        published: the files are GPT-2's, by their checksums. They need no check, and each of their tokens encodes as
            itself, so that a word that is a token needs no merging; others may lack this property.
    """

    def __init__(self, vocab: str, merges: str, add_prefix_space: bool = False, published: bool = False):
        self._tokenizer, self.num_ids = _load(vocab, merges, add_prefix_space, published)
        self._whole: dict[str, int] = self._tokenizer.get_vocab() if published else {}
        self._splitter = None if add_prefix_space else Splitter()
        self._words = WordCache(self._encode_words)
        self._letters = str.maketrans(byte_alphabet())

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of every line."""
        encoded = []
        for ids, ends in self._batches(lines):
            flat, start = ids.tolist(), 0
            for end in ends.tolist():
                encoded.append(flat[start:end])
                start = end
        return encoded

    def encode_arrays(self, lines: Sequence[str]) -> Iterator[NDArray[np.int32]]:
        """The ids of every line as arrays (length,), views of a larger one."""
        for ids, ends in self._batches(lines):
            start = 0
            for end in ends.tolist():
                yield ids[start:end]
                start = end

    def _batches(self, lines: Sequence[str]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Ids of some lines one after the other, and where each line's end."""
        if self._splitter is None:
            encodings = self._tokenizer.encode_batch_fast(list(lines), add_special_tokens=False)
            every = [encoding.ids for encoding in encodings]
            flat = np.fromiter((i for ids in every for i in ids), np.int32)
            yield flat, np.cumsum(np.fromiter(map(len, every), np.int64))
            return
        batch: list[str] = []
        size, enough = 0, _FIRST_BATCH
        for line in lines:
            batch.append(line)
            size += len(line)
            if size >= enough:
                yield self._words.ids(self._splitter.split(batch))
                batch, size, enough = [], 0, min(2 * enough, _BATCH)
        if batch:
            yield self._words.ids(self._splitter.split(batch))

    def _encode_words(self, words: Sequence[bytes]) -> list[list[int]]:
        tokenize, whole = self._tokenizer.model.tokenize, self._whole
        written = (word.decode("latin-1").translate(self._letters) for word in words)
        return [[whole[w]] if w in whole else [token.id for token in tokenize(w)] for w in written]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD. An id outside the vocabulary is a DataError."""
        ids = list(ids)
        for index in ids:
            if self._tokenizer.id_to_token(index) is None:
                raise DataError(f"BPE id {index} is not in the vocabulary of {len(self)} tokens")
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The written form of each token, of ids that `encode` gave; a leading space is shown as U+0120."""
        return [token for index in ids if (token := self._tokenizer.id_to_token(index)) is not None]

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()


def byte_alphabet() -> dict[int, str]:
    """The character that represents each byte in the files: itself if Latin-1 shows it, else the next from U+0100."""
    shown = {byte: chr(byte) for byte in range(256) if 33 <= byte <= 126 or (byte >= 161 and byte != 173)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return shown | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


def _load(vocab: str, merges: str, add_prefix_space: bool, published: bool) -> tuple["Tokenizer", int]:
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    for path in (vocab, merges):
        if not exists(path) or not os.path.isfile(path):
            raise DataError(f"no BPE file {path}; fairseq-prepare-glue downloads encoder.json and vocab.bpe")
    model, num_ids = bpe_model(vocab, merges, check=not published)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, num_ids
