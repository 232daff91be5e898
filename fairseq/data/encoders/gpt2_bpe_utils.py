"""fairseq's import path of the GPT-2 encoding's engine: `get_encoder(encoder_json, vocab_bpe)`.

>>> sorted(get_pairs(("a", "b", "c"))), bytes_to_unicode()[0]
([('a', 'b'), ('b', 'c')], 'Ā')
"""

from collections.abc import Sequence
from itertools import pairwise

from fairseq.data.encoders.byte_level import ByteLevelBPE as Encoder
from fairseq.data.encoders.byte_level import byte_alphabet as bytes_to_unicode
from fairseq.data.encoders.gpt2_bpe import get_encoder

__all__ = ["Encoder", "bytes_to_unicode", "get_encoder", "get_pairs"]


def get_pairs(word: Sequence[str]) -> set[tuple[str, str]]:
    """Neighbours in a word of symbols."""
    return set(pairwise(word))
