"""Where a model multiplies: its Linear layers, embeddings, products of activations, torch's attention modules, and the
modules that stay in full precision.

One class per kind of layer, registered for the types it stands for (see `plan/target.py`). Modules that hide their
product from quantizers (a subclass of nn.Linear with its own forward, a parametrized weight) are targets, too: a rule
that would quantize them is an error. A file of a new kind is imported here, which registers it.
"""

from fairseq.quantization.plan.target import Product, QuantizationTarget, UnquantizedProduct
from fairseq.quantization.plan.targets.attention import AttentionTarget
from fairseq.quantization.plan.targets.bilinear import BilinearTarget
from fairseq.quantization.plan.targets.convolution import ConvolutionTarget
from fairseq.quantization.plan.targets.elementwise import ElementwiseTarget
from fairseq.quantization.plan.targets.embedding import EmbeddingTarget
from fairseq.quantization.plan.targets.find import close_fast_paths, find_targets, open_fast_paths, target_of
from fairseq.quantization.plan.targets.key_value_cache import KeyValueCacheTarget
from fairseq.quantization.plan.targets.linear import LinearTarget, ProjectionTarget
from fairseq.quantization.plan.targets.matmul import MatMulTarget, heads_of, matmul_product
from fairseq.quantization.plan.targets.products import linear_product, linear_quantizers
from fairseq.quantization.plan.targets.recurrent import RecurrentTarget
from fairseq.quantization.plan.targets.time_convolution import TimeConvolutionTarget
from fairseq.quantization.plan.targets.transposed_linear import TransposedLinearTarget
from fairseq.quantization.plan.targets.unsupported import FullPrecisionTarget, UnsupportedTarget

__all__ = [
    "AttentionTarget",
    "BilinearTarget",
    "ConvolutionTarget",
    "ElementwiseTarget",
    "EmbeddingTarget",
    "FullPrecisionTarget",
    "KeyValueCacheTarget",
    "LinearTarget",
    "MatMulTarget",
    "Product",
    "ProjectionTarget",
    "QuantizationTarget",
    "RecurrentTarget",
    "TimeConvolutionTarget",
    "TransposedLinearTarget",
    "UnquantizedProduct",
    "UnsupportedTarget",
    "close_fast_paths",
    "find_targets",
    "heads_of",
    "linear_product",
    "linear_quantizers",
    "matmul_product",
    "open_fast_paths",
    "target_of",
]
