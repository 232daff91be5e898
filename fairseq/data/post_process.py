"""Undoing a subword segmentation: `post_process("he@@ llo", "@@ ")` -> "hello".

>>> post_process("▁he llo ▁world", "sentencepiece")
'hello world'
>>> post_process("h e l l o | y o u |", "letter")
'hello you'
"""

import re
from typing import Optional

from fairseq.errors import ConfigError, unknown

# Segmentations in which spaces mean nothing and this mark is the space between words.
_WORD_MARKS = {"sentencepiece": "\u2581", "wordpiece": "_", "letter": "|", "_EOW": "_EOW"}
_NAMES = ["none", "subword_nmt", "@@ ", "@@", "silence", *_WORD_MARKS]


def post_process(sentence: str, symbol: Optional[str]) -> str:
    """The text of a segmented sentence.

    Args:
        symbol: how it is segmented: None or `none`; `subword_nmt`, `@@ ` or `@@` (continuation marks); `sentencepiece`,
            `wordpiece`, `letter`, `_EOW` (marks between words); `silence` (drops `<SIL>`).

    Raises:
        ConfigError: an unknown `symbol`.
    """
    if symbol is None or symbol == "none":
        return sentence
    if symbol in _WORD_MARKS:
        return sentence.replace(" ", "").replace(_WORD_MARKS[symbol], " ").strip()
    if symbol == "silence":
        return re.sub(" +", " ", sentence.replace("<SIL>", "")).strip()
    if symbol in ("subword_nmt", "@@ ", "@@"):
        mark = "@@" if symbol == "@@" else "@@ "
        return (sentence + " ").replace(mark, "").rstrip()
    raise ConfigError(unknown("post_process", symbol, _NAMES))
