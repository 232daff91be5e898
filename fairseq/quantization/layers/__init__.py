"""Layers whose matrix products are quantized: Linear, Embedding, products of activations, torch's attention."""

from fairseq.quantization.layers.embedding import QEmbedding
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.layers.matmul import MatMul, QMatmul
from fairseq.quantization.layers.torch_attention import QMultiheadAttention
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.matmul import MatMulQuantizers

__all__ = [
    "LinearQuantizers",
    "MatMul",
    "MatMulQuantizers",
    "QEmbedding",
    "QLinear",
    "QMatmul",
    "QMultiheadAttention",
]
