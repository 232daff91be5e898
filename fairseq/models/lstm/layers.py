"""Layers of recurrent models with the weights that they begin with: ~ U(-0.1, 0.1).

>>> bool(Linear(3, 4).weight.abs().max() <= 0.1)
True
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.modules.matmul import MatMul
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear


def Embedding(num_embeddings: int, embedding_dim: int, padding_idx: int) -> nn.Embedding:
    """A table ~ U(-0.1, 0.1), padding zero."""
    table = nn.Embedding(num_embeddings, embedding_dim, padding_idx=padding_idx)
    nn.init.uniform_(table.weight, -0.1, 0.1)
    nn.init.zeros_(table.weight[padding_idx])
    return table


def LSTM(input_size: int, hidden_size: int, **kwargs: Any) -> nn.LSTM:
    """torch's LSTM."""
    return _small(nn.LSTM(input_size, hidden_size, **kwargs))  # type: ignore[no-any-return]


def LSTMCell(input_size: int, hidden_size: int, **kwargs: Any) -> nn.LSTMCell:
    """torch's LSTMCell."""
    return _small(nn.LSTMCell(input_size, hidden_size, **kwargs))  # type: ignore[no-any-return]


def Linear(in_features: int, out_features: int, bias: bool = True, dropout: float = 0.0) -> nn.Linear:
    """A Linear; `dropout` is accepted for the sake of the interface."""
    return _small(QLinear(in_features, out_features, bias=bias, quantized=False))  # type: ignore[no-any-return]


def _small(layer: nn.Module) -> Any:
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.1, 0.1)
    return layer


class AttentionLayer(nn.Module):
    """Attention with a product for scores (Luong et al., arXiv:1508.04025, "general").

    a = softmax((W_in h) s'),   h' = tanh(W_out [a s; h])

    Args:
        input_embed_dim: width of the decoder's state.
        source_embed_dim: width of the encoder's output.
        output_embed_dim: width of the result.
    """

    def __init__(self, input_embed_dim: int, source_embed_dim: int, output_embed_dim: int, bias: bool = False):
        super().__init__()
        self.input_proj = Linear(input_embed_dim, source_embed_dim, bias=bias)
        self.output_proj = Linear(input_embed_dim + source_embed_dim, output_embed_dim, bias=bias)
        self.qk_matmul = MatMul("query", "key")
        self.pv_matmul = MatMul("probs", "value", "output")

    def forward(
        self,
        input: Tensor,
        source_hids: Tensor,
        encoder_padding_mask: Optional[Tensor],
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Tensor]:
        """`input` (B, H) to (B, O), and probabilities (S, B).

        Args:
            source_hids: the encoder's output (S, B, C).
            encoder_padding_mask: (S, B), True at padding.
        """
        query = self.input_proj(input, **bits_for(self.input_proj, num_bits)).unsqueeze(1)  # (B, 1, C)
        keys = source_hids.permute(1, 2, 0)  # (S, B, C) -> (B, C, S)
        scores = self.qk_matmul(query, keys, **bits_for(self.qk_matmul, num_bits)).float()  # (B, 1, S)
        if encoder_padding_mask is not None:
            scores = scores.masked_fill(encoder_padding_mask.t().unsqueeze(1), float("-inf"))
        probs = scores.softmax(-1).type_as(query)
        context = self.pv_matmul(probs, source_hids.transpose(0, 1), **bits_for(self.pv_matmul, num_bits)).squeeze(1)
        both = torch.cat([context, input], dim=1)
        return torch.tanh(self.output_proj(both, **bits_for(self.output_proj, num_bits))), probs.squeeze(1).t()
