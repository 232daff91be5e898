"""`tokenizer=space`: words are separated by white space.

>>> SpaceTokenizer().encode("a\\t b  c")
'a b c'
"""

from typing import Any

from fairseq.data.encoders import register_tokenizer
from fairseq.dataclass.encoders import SpaceTokenizerConfig


@register_tokenizer("space", dataclass=SpaceTokenizerConfig)
class SpaceTokenizer:
    """White space as the only boundary; runs of it become one space."""

    def __init__(self, cfg: Any = None): ...

    def encode(self, x: str) -> str:
        return " ".join(x.split())

    def decode(self, x: str) -> str:
        return x
