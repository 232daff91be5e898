"""What convolutional models are made of: how their layers are written down, and layers with weight normalization.

>>> layer_specs("[(8, 3)] * 2 + [(4, 1, 0)]", "encoder_layers")
[LayerSpec(width=8, kernel_size=3, residual=1), LayerSpec(width=8, kernel_size=3, residual=1), \
LayerSpec(width=4, kernel_size=1, residual=0)]
"""

import ast
import math
import operator
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.modules.conv_tbc import ConvTBC as PlainConvTBC
from fairseq.modules.grad_multiply import GradMultiply
from fairseq.modules.learned_positional_embedding import LearnedPositionalEmbedding
from fairseq.modules.linearized_convolution import LinearizedConvolution
from fairseq.modules.matmul import MatMul
from fairseq.modules.weight_norm import weight_normed
from fairseq.quantization.bits import bits_for

HALF = math.sqrt(0.5)  # a sum of two terms keeps their variance


class LayerSpec(NamedTuple):
    """One layer; its residual comes from the input of the layer `residual` - 1 before it, 0: there is none."""

    width: int
    kernel_size: int
    residual: int = 1


def extend_conv_spec(convolutions: Any) -> tuple[tuple[int, ...], ...]:
    """(width, kernel size) or (width, kernel size, residual) as the latter."""
    return tuple(tuple(LayerSpec(*spec)) for spec in convolutions)


def layer_specs(text: Any, key: str) -> list[LayerSpec]:
    """Read the layers of a config.

    Raises:
        ConfigError: `text` is no list of layers.
    """
    try:
        found = [LayerSpec(*(operator.index(number) for number in spec)) for spec in literal(text)]
    except (ValueError, TypeError, SyntaxError):
        found = []
    if not found or any(spec.width < 1 or spec.kernel_size < 1 or spec.residual < 0 for spec in found):
        raise ConfigError(f"model.{key}: {text!r} is not a list of (width, kernel size), as [(512, 3)] * 4")
    if any(spec.residual > number + 1 for number, spec in enumerate(found)):
        raise ConfigError(f"model.{key}: {text!r} has a residual from before the first layer")
    return found


def literal(text: Any) -> Any:
    """The value of a Python expression of literals with `+` and `*`; what is no text stays as it is.

    Raises:
        ValueError: anything else.
    """
    return _value(ast.parse(text.strip(), mode="eval").body) if isinstance(text, str) else text


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if any(isinstance(factor, int) and factor > 1000 for factor in (left, right)):
            raise ValueError("so many layers are a slip of the pen")
        return left * right
    return ast.literal_eval(node)


# --- layers with the weights that they begin with ---------------------------------------------------------------------


def Embedding(num_embeddings: int, embedding_dim: int, padding_idx: int) -> nn.Embedding:
    """A table ~ N(0, 0.1^2), padding zero."""
    table = nn.Embedding(num_embeddings, embedding_dim, padding_idx=padding_idx)
    nn.init.normal_(table.weight, 0, 0.1)
    nn.init.zeros_(table.weight[padding_idx])
    return table


def PositionalEmbedding(num_embeddings: int, embedding_dim: int, padding_idx: int) -> LearnedPositionalEmbedding:
    """Learned positions ~ N(0, 0.1^2)."""
    table = LearnedPositionalEmbedding(num_embeddings, embedding_dim, padding_idx)
    nn.init.normal_(table.weight, 0, 0.1)
    nn.init.zeros_(table.weight[padding_idx])
    return table


def Linear(in_features: int, out_features: int, dropout: float = 0.0) -> nn.Module:
    """With weight normalization; keeps the variance of inputs behind `dropout`."""
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, mean=0, std=math.sqrt((1 - dropout) / in_features))
    nn.init.zeros_(layer.bias)
    return weight_normed(layer)  # type: ignore[no-any-return]


def ConvTBC(in_channels: int, out_channels: int, kernel_size: int, dropout: float = 0.0, **kwargs: Any) -> nn.Module:
    """With weight normalization, in front of a GLU, which halves channels."""
    return _convolution(PlainConvTBC(in_channels, out_channels, kernel_size, **kwargs), dropout)


def LinearizedConv1d(
    in_channels: int, out_channels: int, kernel_size: int, dropout: float = 0.0, **kwargs: Any
) -> nn.Module:
    """The same, decoding step by step."""
    return _convolution(LinearizedConvolution(in_channels, out_channels, kernel_size, **kwargs), dropout)


def _convolution(layer: PlainConvTBC, dropout: float) -> nn.Module:
    std = math.sqrt((4 * (1.0 - dropout)) / (layer.kernel_size[0] * layer.in_channels))
    nn.init.normal_(layer.weight, mean=0, std=std)
    nn.init.zeros_(layer.bias)
    return weight_normed(layer)  # type: ignore[no-any-return]


# --- attention --------------------------------------------------------------------------------------------------------


class AttentionLayer(nn.Module):
    """Attention of a decoder's layer to the encoder's output (Gehring et al., section 3.3).

    d = W_d h + b + e,   a = softmax(d z'),   c = sqrt(S) a (z + e_source),   h' = (W_c c + b + h) sqrt(1/2)

    Args:
        conv_channels: width C of the layer.
        embed_dim: width E of embeddings, and of the encoder's output.
    """

    def __init__(self, conv_channels: int, embed_dim: int):
        super().__init__()
        self.in_projection = Linear(conv_channels, embed_dim)
        self.out_projection = Linear(embed_dim, conv_channels)
        self.qk_matmul = MatMul("query", "key")
        self.pv_matmul = MatMul("probs", "value", "output")

    def forward(
        self,
        x: Tensor,
        target_embedding: Tensor,
        encoder_out: tuple[Tensor, Tensor],
        encoder_padding_mask: Optional[Tensor],
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Tensor]:
        """`x` (B, T, C) to the same and probabilities (B, T, S).

        Args:
            target_embedding: (B, T, E), what the decoder's first layer saw.
            encoder_out: keys and values (B, S, E).
            encoder_padding_mask: (B, S), True at padding.
        """
        keys, values = encoder_out
        query = (self.in_projection(x, **bits_for(self.in_projection, num_bits)) + target_embedding) * HALF
        scores = self.qk_matmul(query, keys.transpose(1, 2), **bits_for(self.qk_matmul, num_bits)).float()
        if encoder_padding_mask is not None:
            scores = scores.masked_fill(encoder_padding_mask.unsqueeze(1), float("-inf"))
        probs = scores.softmax(-1).type_as(query)
        context = self.pv_matmul(probs, values, **bits_for(self.pv_matmul, num_bits))
        if encoder_padding_mask is None:
            context = context * math.sqrt(values.size(1))
        else:
            lengths = (~encoder_padding_mask).sum(1, keepdim=True).unsqueeze(-1).type_as(context)  # (B, 1, 1)
            context = context * lengths.sqrt()
        return (self.out_projection(context, **bits_for(self.out_projection, num_bits)) + x) * HALF, probs


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    return x if torch.compiler.is_exporting() else GradMultiply.apply(x, scale)  # type: ignore[no-untyped-call]
