"""Encode each distinct word of a corpus once.

GPT-2's pattern never joins text across a single space: the space belongs to the word behind it. So the ids of a line
are those of its first word, followed by those of " word" for each other word, and natural text repeats its words. Two
spaces are a space before the empty word and one before the next. Lines with longer runs or other white space (tabs,
U+00A0) are encoded whole.

New words go through the tokenizer a thousand at a time, as one text that is cut again where its words begin: calling
it for each word takes four times as long.

>>> def characters(texts):
...     return [([ord(c) for c in text], [*range(len(text))]) for text in texts]
>>> cache = WordCache(characters)
>>> cache(["ab b", "a  b"])
[[97, 98, 32, 98], [97, 32, 32, 98]]
>>> sorted(cache.known)
['', '\\na', '\\nab', 'b']
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

# words kept; English text of a GLUE task has 10,000 to 200,000 different ones
LIMIT = 1 << 19
TOGETHER = 1000

# (ids, place of the first character of each) of several texts
Encode = Callable[[list[str]], Sequence[tuple[Sequence[int], Sequence[int]]]]

# where the pattern may cut otherwise than before each space
_ODD = re.compile(r"[^\S ]|   |^  |  $")
_ODD_OR_SPACE_FIRST = re.compile(r"[^\S ]|   |^ |  $|^$")


class WordCache:
    """Lines -> ids, by way of their words.

    Args:
        encode: ids of several texts, and where each id's text begins.
        add_prefix_space: encode the first word of a line as if a space stood before it.
        limit: forget all words when there are more than this.

    `known` maps words to ids; a line feed marks first words, which have no space before them.
    """

    def __init__(self, encode: Encode, add_prefix_space: bool = False, limit: int = LIMIT) -> None:
        self._encode, self._limit = encode, limit
        self._mark = "" if add_prefix_space else "\n"
        self._odd = _ODD_OR_SPACE_FIRST if add_prefix_space else _ODD
        self.known: dict[str, list[int]] = {}

    def __call__(self, lines: Sequence[str]) -> list[list[int]]:
        odd = [place for place, line in enumerate(lines) if self._odd.search(line)]
        if odd:
            rest = set(odd)
            plain = [line for place, line in enumerate(lines) if place not in rest]
            found = self._by_words(plain)
            whole = (list(ids) for ids, _ in self._encode([lines[place] for place in odd]))
            return [next(whole) if place in rest else next(found) for place in range(len(lines))]
        return list(self._by_words(lines))

    def _by_words(self, lines: Sequence[str]) -> Iterator[list[int]]:
        if not lines:
            return iter(())
        words = (self._mark + f" {self._mark}".join(lines)).split(" ")
        known = self._learn(set(words))
        ids = map(known.__getitem__, words)
        return (list(chain.from_iterable(islice(ids, line.count(" ") + 1))) for line in lines)

    def _learn(self, words: set[str]) -> dict[str, list[int]]:
        new = list(words - self.known.keys())
        if len(self.known) + len(new) > self._limit:
            self.known = {}
            new = list(words)
        first = [word[1:] for word in new if word[:1] == "\n"]
        later = [word for word in new if word[:1] != "\n"]
        self.known.update(zip((f"\n{word}" for word in first), self._cut(first, behind="\n"), strict=True))
        self.known.update(zip(later, self._cut(later, before=" "), strict=True))
        return self.known

    def _cut(self, words: list[str], before: str = "", behind: str = "") -> Iterator[list[int]]:
        """The ids of `before + word`, for each word; what stands behind it only keeps it apart from the next one."""
        groups = [words[start : start + TOGETHER] for start in range(0, len(words), TOGETHER)]
        texts = ["".join(f"{before}{word}{behind}" for word in group) for group in groups]
        for group, (ids, starts) in zip(groups, self._encode(texts), strict=True):
            ends = np.cumsum([len(before) + len(word) + len(behind) for word in group])
            cuts = np.searchsorted(starts, np.stack([np.concatenate([[0], ends[:-1]]), ends - len(behind)]))
            for low, high in cuts.T.tolist():
                yield list(ids[low:high])
