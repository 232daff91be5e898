"""Building blocks of transformers, under the names that fairseq users import."""

from fairseq.modules.adaptive_input import AdaptiveInput
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.modules.character_token_embedder import CharacterTokenEmbedder
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.gelu import gelu, gelu_accurate
from fairseq.modules.grad_multiply import GradMultiply
from fairseq.modules.layer_drop import LayerDropModuleList
from fairseq.modules.layer_norm import Fp32LayerNorm, LayerNorm
from fairseq.modules.learned_positional_embedding import LearnedPositionalEmbedding
from fairseq.modules.matmul import MatMul
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.modules.shapes import Fp32GroupNorm, SamePad, TransposeLast
from fairseq.modules.sinusoidal_positional_embedding import SinusoidalPositionalEmbedding
from fairseq.modules.transformer_layer import TransformerDecoderLayer, TransformerEncoderLayer
from fairseq.modules.transformer_sentence_encoder import TransformerSentenceEncoder
from fairseq.modules.transformer_sentence_encoder_layer import TransformerSentenceEncoderLayer

__all__ = [
    "AdaptiveInput",
    "AdaptiveSoftmax",
    "CharacterTokenEmbedder",
    "FairseqDropout",
    "Fp32GroupNorm",
    "Fp32LayerNorm",
    "GradMultiply",
    "LayerDropModuleList",
    "LayerNorm",
    "LearnedPositionalEmbedding",
    "MatMul",
    "MultiheadAttention",
    "PositionalEmbedding",
    "SamePad",
    "SinusoidalPositionalEmbedding",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "TransformerSentenceEncoder",
    "TransformerSentenceEncoderLayer",
    "TransposeLast",
    "gelu",
    "gelu_accurate",
]
