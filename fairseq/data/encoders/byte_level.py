"""Byte-level BPE (Radford et al. 2019) by the `tokenizers` library.

Text is cut into words by GPT-2's pattern, words into bytes, and bytes are merged by the learned merges. Every string of
Unicode text has an encoding, and decoding gives it back.
"""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fairseq.data.encoders.word_cache import WordCache
from fairseq.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class ByteLevelBPE:
    """Encode text as BPE ids and back.

    Args:
        vocab: path of the JSON file that maps tokens to ids (`encoder.json`, `vocab.json`).
        merges: path of the merges, one a line after a version line (`vocab.bpe`, `merges.txt`).
        add_prefix_space: encode the first word as if a space stood before it.
    """

    def __init__(self, vocab: str, merges: str, add_prefix_space: bool = False):
        self._tokenizer = _load(vocab, merges, add_prefix_space)
        self._words = WordCache(self._encode_texts, add_prefix_space)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of every line; words that came before are looked up, new ones are encoded in parallel threads."""
        return self._words(lines)

    def _encode_texts(self, texts: list[str]) -> list[tuple[list[int], list[int]]]:
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [(encoding.ids, [start for start, _ in encoding.offsets]) for encoding in encodings]

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


def _load(vocab: str, merges: str, add_prefix_space: bool) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    for path in (vocab, merges):
        if not os.path.isfile(path):
            raise DataError(f"no BPE file {path}; fairseq-prepare-glue downloads encoder.json and vocab.bpe")
    try:
        model = models.BPE.from_file(vocab, merges)
    except Exception as error:  # the library raises plain Exception for whatever is wrong with the files
        raise DataError(f"cannot read the BPE of {vocab} and {merges}: {' '.join(str(error).split())}") from None
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
