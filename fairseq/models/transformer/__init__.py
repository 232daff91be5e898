"""The encoder-decoder transformer."""

from fairseq.models.transformer.transformer_config import TransformerConfig
from fairseq.models.transformer.transformer_encoder import TransformerEncoder, TransformerEncoderBase

__all__ = ["TransformerConfig", "TransformerEncoder", "TransformerEncoderBase"]
