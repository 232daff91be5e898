"""The encoder layer under its older constructor, which takes numbers instead of a config. Plugins derive from it.

>>> import torch
>>> layer = TransformerSentenceEncoderLayer(embedding_dim=8, ffn_embedding_dim=16, num_attention_heads=2)
>>> x, attn = layer(torch.zeros(5, 3, 8))
>>> x.shape, attn
(torch.Size([5, 3, 8]), None)
"""

from collections.abc import Callable
from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayerBase


class TransformerSentenceEncoderLayer(TransformerEncoderLayerBase):
    """A post-norm encoder layer; `init_fn` is called before its parameters are made."""

    def __init__(
        self,
        embedding_dim: int = 768,
        ffn_embedding_dim: int = 3072,
        num_attention_heads: int = 8,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.1,
        activation_fn: str = "relu",
        export: bool = False,
        q_noise: float = 0.0,
        qn_block_size: int = 8,
        init_fn: Optional[Callable[[], Any]] = None,
    ):
        if init_fn is not None:
            init_fn()
        super().__init__(
            TransformerConfig.from_namespace(
                {
                    "encoder_embed_dim": embedding_dim,
                    "encoder_ffn_embed_dim": ffn_embedding_dim,
                    "encoder_attention_heads": num_attention_heads,
                    "dropout": dropout,
                    "attention_dropout": attention_dropout,
                    "activation_dropout": activation_dropout,
                    "activation_fn": activation_fn,
                    "quant_noise_pq": q_noise,
                    "quant_noise_pq_block_size": qn_block_size,
                }
            )
        )

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        self_attn_mask: Optional[Tensor] = None,
        self_attn_padding_mask: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, None]:
        """`x` (T, B, C) transformed, and None in the place of attention probabilities."""
        return super().forward(x, self_attn_padding_mask, self_attn_mask, num_bits), None  # type: ignore[return-value]
