r"""GPT-2's pattern as array operations: thousands of lines are cut into words at once.

The published pattern is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. With each
character reduced to its class (letter, digit, other, whitespace), a word begins

- where the class changes;
- not after a space (U+0020), which belongs to the visible word that follows it;
- at the last whitespace character before something visible;
- after a contraction (`'s`, `'ll`, ...), if its apostrophe begins a word.

>>> words = Splitter().split(["It's two  words"])
>>> [bytes(words.data[a:b]).decode() for a, b in zip(words.starts[:-1], words.starts[1:])]  # "\n": the line's end
['It', "'s", ' two', ' ', ' words', '\n']
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LETTER, DIGIT, OTHER, WHITESPACE, END, UNKNOWN = range(6)
PADDING = 16  # readable bytes after the text, for readers of whole 8-byte words

_SPACE, _APOSTROPHE = ord(" "), ord("'")
_CONTRACTIONS = tuple(tuple(map(ord, rest)) for rest in ("s", "t", "m", "d", "re", "ve", "ll"))


class Words(NamedTuple):
    """Words of many lines; after a line's last word comes one of a single byte, its end.

    Attributes:
        data: (bytes + PADDING,) uint8, the lines in UTF-8, each followed by one byte.
        starts: (words + 1,) where each word begins in `data`; the last is the end of the text.
        ends: (lines,) index of the word that is the end of each line.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class Splitter:
    """Cuts lines into words. A character's class is taken from `tokenizers` when it is first seen, so that both agree
    on Unicode.
    """

    def __init__(self) -> None:
        self._classes = np.full(0x110000, UNKNOWN, dtype=np.uint8)  # by code point

    def split(self, lines: Sequence[str]) -> Words:
        """The words of `lines`; an empty sequence is not allowed."""
        text = "\n".join(lines) + "\n"
        encoded = text.encode()
        data = np.frombuffer(encoded + bytes(PADDING), dtype=np.uint8)
        is_ascii = len(encoded) == len(text)
        points = data[: len(text)] if is_ascii else np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        classes = self._classify(points)
        line_ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1) - 1
        classes[line_ends] = END
        begins = word_begins(points, classes)
        begins[line_ends] = True
        begins[line_ends[:-1] + 1] = True
        places = np.flatnonzero(begins)
        ends = np.searchsorted(places, line_ends)
        if not is_ascii:
            places = np.flatnonzero((data[: len(encoded)] & 0xC0) != 0x80)[places]  # characters -> bytes
        return Words(data, np.append(places, len(encoded)), ends)

    def _classify(self, points: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
        classes = self._classes.take(points)
        if (unseen := classes == UNKNOWN).any():
            for point in np.unique(points[unseen]).tolist():
                self._classes[point] = _class_of(chr(point))
            classes = self._classes.take(points)
        return classes


def word_begins(points: NDArray[np.unsignedinteger], classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which characters begin a word, by their code points and classes (both (characters,), the last one is an END)."""
    begins = np.empty(len(points), dtype=np.bool_)
    begins[0] = True
    np.not_equal(classes[1:], classes[:-1], out=begins[1:])
    before_visible = np.zeros_like(begins)
    np.less(classes[1:], WHITESPACE, out=before_visible[:-1])
    begins |= before_visible & (classes == WHITESPACE)
    joined = before_visible & (points == _SPACE)
    begins[1:] &= ~joined[:-1]

    quotes = np.flatnonzero(points == _APOSTROPHE)
    quotes = quotes[begins[quotes]]
    for rest in _CONTRACTIONS:
        after = len(rest) + 1
        here = quotes[quotes + after < len(points)]
        for place, point in enumerate(rest, 1):
            here = here[points[here + place] == point]
        begins[here + 1] = False
        begins[here + after] = True
    return begins


def _class_of(character: str) -> int:
    """The class of characters that this one forms a word with."""
    from tokenizers import pre_tokenizers

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    for kind, neighbour in ((LETTER, "a"), (DIGIT, "1"), (OTHER, "!")):
        if len(cut(neighbour + character)) == 1:
            return kind
    return WHITESPACE
