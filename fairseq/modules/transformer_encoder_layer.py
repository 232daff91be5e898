"""One layer of a transformer encoder (Vaswani et al., arXiv:1706.03762, section 3.1): self-attention, then
feed-forward.

>>> import torch
>>> config = TransformerConfig.from_namespace(
...     {"encoder_embed_dim": 8, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2})
>>> TransformerEncoderLayerBase(config)(torch.zeros(5, 3, 8), encoder_padding_mask=None).shape
torch.Size([5, 3, 8])
"""

from typing import Any, Optional, Union

from torch import Tensor

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.modules import pruning
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_layer_base import TransformerLayer
from fairseq.quantization.bits import bits_for


class TransformerEncoderLayerBase(TransformerLayer):
    """Encoder layer.

    Args:
        cfg: the model's config; `cfg.encoder` gives the dimensions.
        return_fc: also return the feed-forward block's output before dropout and residual.
    """

    def __init__(self, cfg: TransformerConfig, return_fc: bool = False):
        super().__init__(cfg, cfg.encoder.embed_dim, cfg.encoder.normalize_before)
        self.return_fc = return_fc
        self.self_attn = self.build_self_attention(self.embed_dim, cfg)
        self.self_attn_layer_norm = LayerNorm(self.embed_dim)
        self.dropout_module = self.build_dropout(cfg.dropout)
        self.activation_dropout_module = self.build_dropout(cfg.activation_dropout_p)
        self.build_feed_forward(cfg.encoder.ffn_embed_dim)
        self.final_layer_norm = LayerNorm(self.embed_dim)

    def build_self_attention(self, embed_dim: int, cfg: TransformerConfig) -> MultiheadAttention:
        return MultiheadAttention(
            embed_dim,
            cfg.encoder.attention_heads,
            dropout=cfg.attention_dropout,
            self_attention=True,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def forward(
        self,
        x: Tensor,
        encoder_padding_mask: Optional[Tensor],
        attn_mask: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> Union[Tensor, tuple[Tensor, Tensor]]:
        """Transform `x` (T, B, C).

        Args:
            encoder_padding_mask: (B, T), true at padding, or None if there is none.
            attn_mask: (T, T), true (or non-zero) where the row's position must not see the column's.
            num_bits: bits of the quantizers that follow.
        """
        if attn_mask is not None:
            attn_mask = attn_mask.bool()
        residual, x = x, self.before(self.self_attn_layer_norm, x)
        x, _ = self.self_attn(
            x,
            x,
            x,
            key_padding_mask=encoder_padding_mask,
            need_weights=False,
            attn_mask=attn_mask,
            **bits_for(self.self_attn, num_bits),
        )
        x = self.finish(self.self_attn_layer_norm, x, residual, num_bits)

        residual, x = x, self.before(self.final_layer_norm, x)
        fc_result = self.feed_forward(x, **bits_for(self, num_bits, "feed_forward"))
        x = self.finish(self.final_layer_norm, fc_result, residual, num_bits)
        return (x, fc_result) if self.return_fc else x

    def _get_fc_rank(self, remove_num: int) -> list[int]:
        """The units of the feed-forward block that weigh least."""
        return pruning.weakest_units(self.fc1, self.fc2, remove_num)

    def _prune_fc_layer(self, remove_index: list[int]) -> None:
        pruning.remove_units(self.fc1, self.fc2, remove_index)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Old checkpoints number the layer norms."""
        self.rename_layer_norms(state_dict, name, ("self_attn_layer_norm", "final_layer_norm"))


class TransformerEncoderLayer(TransformerEncoderLayerBase):
    """The same layer built from flat arguments."""

    def __init__(self, args: Any):
        super().__init__(TransformerConfig.from_namespace(args))

    def build_self_attention(self, embed_dim: int, args: Any) -> MultiheadAttention:
        return super().build_self_attention(embed_dim, TransformerConfig.from_namespace(args))
