"""Where fairseq users import both kinds of transformer layers from."""

from fairseq.modules.transformer_decoder_layer import TransformerDecoderLayer, TransformerDecoderLayerBase
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayer, TransformerEncoderLayerBase

__all__ = [
    "TransformerDecoderLayer",
    "TransformerDecoderLayerBase",
    "TransformerEncoderLayer",
    "TransformerEncoderLayerBase",
]
