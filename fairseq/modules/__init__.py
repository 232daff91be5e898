"""Building blocks of transformers, under the names that fairseq users import."""

from fairseq.modules.adaptive_input import AdaptiveInput
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.modules.beamable_mm import BeamableMM
from fairseq.modules.character_token_embedder import CharacterTokenEmbedder
from fairseq.modules.conv_tbc import ConvTBC
from fairseq.modules.cross_entropy import cross_entropy
from fairseq.modules.dynamic_convolution import DynamicConv, DynamicConv1dTBC, DynamicConv_scripatable
from fairseq.modules.dynamic_crf_layer import DynamicCRF
from fairseq.modules.ema_module import EMAModule, EMAModuleConfig
from fairseq.modules.espnet_multihead_attention import (
    ESPNETMultiHeadedAttention,
    RelPositionMultiHeadedAttention,
    RotaryPositionMultiHeadedAttention,
)
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.fp32_batch_norm import Fp32BatchNorm
from fairseq.modules.fp32_group_norm import Fp32GroupNorm
from fairseq.modules.fp32_instance_norm import Fp32InstanceNorm
from fairseq.modules.gelu import gelu, gelu_accurate
from fairseq.modules.grad_multiply import GradMultiply
from fairseq.modules.layer_drop import LayerDropModuleList
from fairseq.modules.layer_norm import Fp32LayerNorm, LayerNorm
from fairseq.modules.learned_positional_embedding import LearnedPositionalEmbedding
from fairseq.modules.lightweight_convolution import LightweightConv, LightweightConv1dTBC
from fairseq.modules.linearized_convolution import LinearizedConvolution
from fairseq.modules.location_attention import LocationAttention
from fairseq.modules.lstm_cell_with_zoneout import LSTMCellWithZoneOut
from fairseq.modules.matmul import MatMul
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.modules.positional_encoding import RelPositionalEncoding
from fairseq.modules.rotary_positional_embedding import RotaryPositionalEmbedding
from fairseq.modules.same_pad import SamePad, SamePad2d
from fairseq.modules.scalar_bias import ScalarBias
from fairseq.modules.sinusoidal_positional_embedding import SinusoidalPositionalEmbedding
from fairseq.modules.transformer_layer import TransformerDecoderLayer, TransformerEncoderLayer
from fairseq.modules.transformer_sentence_encoder import TransformerSentenceEncoder
from fairseq.modules.transformer_sentence_encoder_layer import TransformerSentenceEncoderLayer
from fairseq.modules.transpose_last import TransposeLast
from fairseq.modules.unfold import unfold1d

__all__ = [
    "AdaptiveInput",
    "AdaptiveSoftmax",
    "BeamableMM",
    "CharacterTokenEmbedder",
    "ConvTBC",
    "DynamicCRF",
    "DynamicConv",
    "DynamicConv1dTBC",
    "DynamicConv_scripatable",
    "EMAModule",
    "EMAModuleConfig",
    "ESPNETMultiHeadedAttention",
    "FairseqDropout",
    "Fp32BatchNorm",
    "Fp32GroupNorm",
    "Fp32InstanceNorm",
    "Fp32LayerNorm",
    "GradMultiply",
    "LSTMCellWithZoneOut",
    "LayerDropModuleList",
    "LayerNorm",
    "LearnedPositionalEmbedding",
    "LightweightConv",
    "LightweightConv1dTBC",
    "LinearizedConvolution",
    "LocationAttention",
    "MatMul",
    "MultiheadAttention",
    "PositionalEmbedding",
    "RelPositionMultiHeadedAttention",
    "RelPositionalEncoding",
    "RotaryPositionMultiHeadedAttention",
    "RotaryPositionalEmbedding",
    "SamePad",
    "SamePad2d",
    "ScalarBias",
    "SinusoidalPositionalEmbedding",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "TransformerSentenceEncoder",
    "TransformerSentenceEncoderLayer",
    "TransposeLast",
    "cross_entropy",
    "gelu",
    "gelu_accurate",
    "unfold1d",
]
