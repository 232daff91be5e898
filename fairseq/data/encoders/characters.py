"""`bpe=characters`: every character is a token; a space is written as U+2581.

>>> Characters().encode("a b"), Characters().decode("a \u2581 b")
('a ▁ b', 'a b')
"""

from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.dataclass.encoders import CharactersConfig

SPACE = " "
SPACE_ESCAPE = chr(9601)


@register_bpe("characters", dataclass=CharactersConfig)
class Characters:
    """Text as single characters."""

    def __init__(self, cfg: Any = None): ...

    @staticmethod
    def encode(x: str) -> str:
        return " ".join(x.replace(" ", SPACE_ESCAPE))

    @staticmethod
    def decode(x: str) -> str:
        return x.replace(" ", "").replace(SPACE_ESCAPE, " ")
