"""Splitting a line into words, the way dictionaries and binarizers see it.

>>> tokenize_line("  the \\t cat sat\\n")
['the', 'cat', 'sat']
"""

import re

SPACE_NORMALIZER = re.compile(r"\s+")


def tokenize_line(line: str) -> list[str]:
    """The words of `line`: runs of any Unicode white space separate them."""
    return line.split()
