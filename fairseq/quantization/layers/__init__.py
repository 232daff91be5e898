"""Layers whose matrix products are quantized: Linear, Embedding, products of activations, torch's attention."""

from fairseq.quantization.layers.embedding import QEmbedding
from fairseq.quantization.layers.linear import LinearQuantizers, QLinear
from fairseq.quantization.layers.matmul import MatMul, MatMulQuantizers, QMatmul
from fairseq.quantization.layers.torch_attention import QMultiheadAttention

__all__ = [
    "LinearQuantizers",
    "MatMul",
    "MatMulQuantizers",
    "QEmbedding",
    "QLinear",
    "QMatmul",
    "QMultiheadAttention",
]
