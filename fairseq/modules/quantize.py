"""Quantized modules and CPT's quantization functions, re-exported from `fairseq.quantization`.

>>> import torch
>>> layer = QLinear(4, 2)
>>> layer(torch.ones(1, 4), num_bits=4).shape, layer(torch.ones(1, 4)).shape
(torch.Size([1, 2]), torch.Size([1, 2]))
"""

from fairseq.quantization.cpt import (
    QParams,
    QuantMeasure,
    UniformQuantize,
    UniformQuantizeGrad,
    calculate_qparams,
    quantize,
    quantize_grad,
)
from fairseq.quantization.layers import MatMul, QEmbedding, QLinear, QMatmul, QMultiheadAttention

__all__ = [
    "MatMul",
    "QEmbedding",
    "QLinear",
    "QMatmul",
    "QMultiheadAttention",
    "QParams",
    "QuantMeasure",
    "UniformQuantize",
    "UniformQuantizeGrad",
    "calculate_qparams",
    "quantize",
    "quantize_grad",
]
