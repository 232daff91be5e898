"""Texts as bytes, for data sets that keep many of them in memory.

>>> compressor = TextCompressor(TextCompressionLevel.low)
>>> compressor.decompress(compressor.compress("hällo"))
'hällo'
"""

import zlib
from enum import Enum

from fairseq.errors import ConfigError


class TextCompressionLevel(Enum):
    """`none`: UTF-8. `low`: zlib's format, stored without compression as in fairseq. `high`: Unishox, not built."""

    none = 0
    low = 1
    high = 2


class TextCompressor:
    """Text to bytes and back.

    Args:
        level: how.
        max_input_byte_length: fairseq's limit for `high`.

    Raises:
        ConfigError: `high`.
    """

    def __init__(self, level: TextCompressionLevel, max_input_byte_length: int = 2**16):
        if level is TextCompressionLevel.high:
            raise ConfigError("text_compression_level=high (Unishox) is not built; choose low or none")
        self.level = level
        self.max_input_length = max_input_byte_length

    def compress(self, text: str) -> bytes:
        """The bytes of `text`."""
        return zlib.compress(text.encode(), level=0) if self.level is TextCompressionLevel.low else text.encode()

    def decompress(self, compressed: bytes) -> str:
        """The text of `compressed`."""
        return (zlib.decompress(compressed) if self.level is TextCompressionLevel.low else compressed).decode()
