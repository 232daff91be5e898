"""What reads RoBERTa's features: the masked language model's head, and heads that classify sentences.

    lm:              W_tokens LN(gelu(W x + b)) + b_tokens        at the masked positions only
    classification:  W_o dropout(tanh(W dropout(x_<s>)))          x_<s>: the feature of the first token

>>> head = RobertaClassificationHead(8, inner_dim=8, num_classes=3, activation_fn="tanh", pooler_dropout=0.0)
>>> head(torch.zeros(2, 5, 8)).shape
torch.Size([2, 3])
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.modules.activations import get_activation_fn
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.quant_noise import quant_noise
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.layers.projection import Projection


class RobertaLMHead(nn.Module):
    """Scores over the vocabulary.

    Args:
        embed_dim: width of the features.
        output_dim: size of the vocabulary.
        activation_fn: name of the activation.
        weight: (output_dim, embed_dim), the token embedding's where weights are tied; None for separate weights.
    """

    def __init__(self, embed_dim: int, output_dim: int, activation_fn: str, weight: Optional[Tensor] = None):
        super().__init__()
        self.dense = QLinear(embed_dim, embed_dim, quantized=False)
        self.activation_fn = get_activation_fn(str(activation_fn))
        self.layer_norm = LayerNorm(embed_dim)
        self.weight = nn.Linear(embed_dim, output_dim, bias=False).weight if weight is None else weight
        self.bias = nn.Parameter(torch.zeros(output_dim))
        self.projection = Projection(embed_dim, output_dim)

    def forward(
        self,
        features: Tensor,
        masked_tokens: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> Tensor:
        """Scores (B, T, V) for `features` (B, T, C); (M, V) for the M positions where `masked_tokens` (B, T) is
        true."""
        if masked_tokens is not None:
            features = features[masked_tokens]  # (B, T, C) -> (M, C)
        x = self.layer_norm(self.activation_fn(self.dense(features, **bits_for(self.dense, num_bits))))
        return self.projection(x, self.weight, self.bias, num_bits)


class RobertaClassificationHead(nn.Module):
    """Scores over `num_classes` for a sentence (or one number, for regression).

    Args:
        input_dim: width of the features.
        inner_dim: width of the pooled feature.
        num_classes: scores per sentence.
        activation_fn: name of the pooler's activation.
        pooler_dropout: dropout on the pooled feature, before and after pooling.
        q_noise, qn_block_size: quantization noise on the output layer.
        do_spectral_norm: keep the output layer's largest singular value at 1 (Miyato et al., arXiv:1802.05957).
    """

    def __init__(
        self,
        input_dim: int,
        inner_dim: int,
        num_classes: int,
        activation_fn: str,
        pooler_dropout: float,
        q_noise: float = 0,
        qn_block_size: int = 8,
        do_spectral_norm: bool = False,
    ):
        super().__init__()
        if do_spectral_norm and q_noise > 0:
            raise ConfigError("spectral_norm_classification_head and quant_noise_pq cannot be used together")
        self.dense = QLinear(input_dim, inner_dim, quantized=False)
        self.activation_fn = get_activation_fn(str(activation_fn))
        self.dropout = nn.Dropout(p=float(pooler_dropout))
        self.out_proj = quant_noise(QLinear(inner_dim, num_classes, quantized=False), q_noise, qn_block_size)
        if do_spectral_norm:
            self.out_proj = nn.utils.spectral_norm(self.out_proj)

    def forward(self, features: Tensor, num_bits: Optional[int] = None, **kwargs: Any) -> Tensor:
        """Scores (B, num_classes) for `features` (B, T, C), read at the first token."""
        x = self.dropout(features[:, 0, :])
        x = self.dropout(self.activation_fn(self.dense(x, **bits_for(self.dense, num_bits))))
        return self.out_proj(x, **bits_for(self.out_proj, num_bits))
