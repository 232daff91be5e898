"""`bpe=bytes`: every byte is a token; a space is written as U+2581.

>>> Bytes().encode("\u00e9 b"), Bytes().decode("\u00c3 \u00a9 \u2581 b")
('Ã © ▁ b', 'é b')
"""

from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.byte_utils import SPACE, SPACE_ESCAPE, byte_encode, smart_byte_decode
from fairseq.dataclass.encoders import BytesConfig


@register_bpe("bytes", dataclass=BytesConfig)
class Bytes:
    """Text as single bytes."""

    def __init__(self, *unused: Any): ...

    @staticmethod
    def encode(x: str) -> str:
        return SPACE.join(byte_encode(x).replace(SPACE, SPACE_ESCAPE))

    @staticmethod
    def decode(x: str) -> str:
        return smart_byte_decode(x.replace(SPACE, "").replace(SPACE_ESCAPE, SPACE))
