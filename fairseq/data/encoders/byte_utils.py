"""Bytes of UTF-8 as characters that can be printed, one each.

>>> byte_encode("w\u00f6rd  x"), byte_decode(byte_encode("w\u00f6rd x"))
('wÃ¶rd x', 'wörd x')
>>> byte_decode("\u00c3"), smart_byte_decode("a\u00c3")
('', 'a')
"""

import re

SPACE = " "
SPACE_ESCAPE = "\u2581"
WHITESPACE_NORMALIZER = re.compile(r"\s+")
PRINTABLE_LATIN = {*range(32, 127), *range(161, 173), *range(174, 256)}
BYTE_TO_BCHAR = {byte: chr(byte) if byte in PRINTABLE_LATIN else chr(256 + byte) for byte in range(256)}
BCHAR_TO_BYTE = {letter: byte for byte, letter in BYTE_TO_BCHAR.items()}


def byte_encode(x: str) -> str:
    """A character for each byte of `x`; runs of white space are one space."""
    return "".join(BYTE_TO_BCHAR[byte] for byte in WHITESPACE_NORMALIZER.sub(SPACE, x).encode("utf-8"))


def byte_decode(x: str) -> str:
    """The text; empty where the bytes are none."""
    try:
        return bytes(BCHAR_TO_BYTE[letter] for letter in x).decode("utf-8")
    except ValueError:
        return ""


def smart_byte_decode(x: str) -> str:
    """The text; bytes that belong to no character are left out."""
    return bytes(BCHAR_TO_BYTE[letter] for letter in x).decode("utf-8", errors="ignore")
