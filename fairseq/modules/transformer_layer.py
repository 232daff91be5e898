"""Where fairseq users import both kinds of transformer layers from."""

from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayer, TransformerEncoderLayerBase

__all__ = ["TransformerEncoderLayer", "TransformerEncoderLayerBase"]
