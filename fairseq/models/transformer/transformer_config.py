"""Where fairseq users import TransformerConfig from; it is defined next to the other configs, which need no torch."""

from fairseq.dataclass.transformer import (
    _NAME_PARSER,
    DEFAULT_MAX_SOURCE_POSITIONS,
    DEFAULT_MAX_TARGET_POSITIONS,
    DEFAULT_MIN_PARAMS_TO_WRAP,
    DecoderConfig,
    EncDecBaseConfig,
    QuantNoiseConfig,
    TransformerConfig,
)

__all__ = [
    "DEFAULT_MAX_SOURCE_POSITIONS",
    "DEFAULT_MAX_TARGET_POSITIONS",
    "DEFAULT_MIN_PARAMS_TO_WRAP",
    "_NAME_PARSER",
    "DecoderConfig",
    "EncDecBaseConfig",
    "QuantNoiseConfig",
    "TransformerConfig",
]
