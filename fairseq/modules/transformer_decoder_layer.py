"""One layer of a transformer decoder (Vaswani et al., arXiv:1706.03762, section 3.1): self-attention over earlier
outputs, attention to the encoder, feed-forward. Language models may scale more (NormFormer: Shleifer et al.,
arXiv:2110.09456).

>>> import torch
>>> config = TransformerConfig.from_namespace(
...     {"decoder_embed_dim": 8, "encoder_embed_dim": 8, "decoder_ffn_embed_dim": 16, "decoder_attention_heads": 2})
>>> x, attn, _ = TransformerDecoderLayerBase(config)(torch.zeros(5, 3, 8), torch.zeros(7, 3, 8), need_attn=True)
>>> x.shape, attn.shape
(torch.Size([5, 3, 8]), torch.Size([3, 5, 7]))
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.modules.attention import state
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_layer_base import TransformerLayer
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.key_value_cache import KeyValueCache


class TransformerDecoderLayerBase(TransformerLayer):
    """Decoder layer.

    Args:
        cfg: the model's config; `cfg.decoder` gives the dimensions.
        no_encoder_attn: leave out attention to the encoder (language models).
        add_bias_kv, add_zero_attn: see MultiheadAttention; for self-attention.
    """

    def __init__(
        self,
        cfg: TransformerConfig,
        no_encoder_attn: bool = False,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
    ):
        super().__init__(cfg, cfg.decoder.embed_dim, cfg.decoder.normalize_before)
        self.cross_self_attention = cfg.cross_self_attention
        self.need_attn = True
        self.dropout_module = self.build_dropout(cfg.dropout)
        self.self_attn = self.build_self_attention(
            self.embed_dim, cfg, add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn
        )
        extra = cfg.__dict__  # NormFormer's switches are settings of language models alone
        heads = cfg.decoder.attention_heads
        self.c_attn = nn.Parameter(torch.ones(heads)) if extra.get("scale_heads") else None
        self.w_resid = nn.Parameter(torch.ones(self.embed_dim)) if extra.get("scale_resids") else None
        self.attn_ln = LayerNorm(self.embed_dim) if extra.get("scale_attn") else None
        self.activation_dropout_module = self.build_dropout(cfg.activation_dropout_p)
        self.self_attn_layer_norm = LayerNorm(self.embed_dim)
        self.encoder_attn = None if no_encoder_attn else self.build_encoder_attention(self.embed_dim, cfg)
        self.encoder_attn_layer_norm = None if no_encoder_attn else LayerNorm(self.embed_dim)
        for attention in (self.self_attn, self.encoder_attn):
            if isinstance(attention, MultiheadAttention):
                attention.cache = KeyValueCache()
        if extra.get("scale_fc"):
            self.ffn_layernorm = LayerNorm(cfg.decoder.ffn_embed_dim)
        self.build_feed_forward(cfg.decoder.ffn_embed_dim)
        self.final_layer_norm = LayerNorm(self.embed_dim)

    def build_self_attention(
        self, embed_dim: int, cfg: TransformerConfig, add_bias_kv: bool = False, add_zero_attn: bool = False
    ) -> MultiheadAttention:
        return MultiheadAttention(
            embed_dim,
            cfg.decoder.attention_heads,
            dropout=cfg.attention_dropout,
            add_bias_kv=add_bias_kv,
            add_zero_attn=add_zero_attn,
            self_attention=not cfg.cross_self_attention,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def build_encoder_attention(self, embed_dim: int, cfg: TransformerConfig) -> MultiheadAttention:
        return MultiheadAttention(
            embed_dim,
            cfg.decoder.attention_heads,
            kdim=cfg.encoder.embed_dim,
            vdim=cfg.encoder.embed_dim,
            dropout=cfg.attention_dropout,
            encoder_decoder_attention=True,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def forward(
        self,
        x: Tensor,
        encoder_out: Optional[Tensor] = None,
        encoder_padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[IncrementalState] = None,
        prev_self_attn_state: Optional[list[Tensor]] = None,
        prev_attn_state: Optional[list[Tensor]] = None,
        self_attn_mask: Optional[Tensor] = None,
        self_attn_padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
        need_head_weights: bool = False,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Optional[Tensor], None]:
        """Transform `x` (T, B, C) given `encoder_out` (S, B, C_enc).

        Args:
            encoder_padding_mask: (B, S), true at padding.
            incremental_state: where keys and values are kept between steps; T is 1 then.
            prev_self_attn_state, prev_attn_state: [keys, values] or [keys, values, padding mask] to start from.
            self_attn_mask: (T, T), -inf above the diagonal.
            self_attn_padding_mask: (B, T), true at padding.
            need_attn: return the probabilities of attention to the encoder, averaged over heads.
            need_head_weights: return them for each head.
            num_bits: bits of the quantizers that follow.

        Returns:
            The result (T, B, C); probabilities (B, T, S), (H, B, T, S) or None; None.
        """
        need_attn = need_attn or need_head_weights
        _start_from(self.self_attn, incremental_state, prev_self_attn_state)
        residual, x = x, self.before(self.self_attn_layer_norm, x)
        keys, self_attn_mask, self_attn_padding_mask = self._self_attention_reads(
            x, encoder_out, encoder_padding_mask, incremental_state, self_attn_mask, self_attn_padding_mask
        )
        x, attn = self.self_attn(
            x,
            keys,
            keys,
            key_padding_mask=self_attn_padding_mask,
            incremental_state=incremental_state,
            need_weights=False,
            attn_mask=self_attn_mask,
            **bits_for(self.self_attn, num_bits),
        )
        x = self._scaled_attention(x)
        x = self._finish(self.self_attn_layer_norm, x, residual)

        if self.encoder_attn is not None and encoder_out is not None:
            assert self.encoder_attn_layer_norm is not None
            _start_from(self.encoder_attn, incremental_state, prev_attn_state)
            residual, x = x, self.before(self.encoder_attn_layer_norm, x)
            x, attn = self.encoder_attn(
                x,
                encoder_out,
                encoder_out,
                key_padding_mask=encoder_padding_mask,
                incremental_state=incremental_state,
                static_kv=True,
                need_weights=need_attn or (not self.training and self.need_attn),
                need_head_weights=need_head_weights,
                **bits_for(self.encoder_attn, num_bits),
            )
            x = self._finish(self.encoder_attn_layer_norm, x, residual)

        residual, x = x, self.before(self.final_layer_norm, x)
        if self.w_resid is not None:
            residual = self.w_resid * residual
        x = self.feed_forward(x, **bits_for(self, num_bits, "feed_forward"))
        return self._finish(self.final_layer_norm, x, residual), attn, None

    def _finish(self, norm: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
        """The output of a block, in one pass where no gradient is wanted."""
        if torch.is_grad_enabled() or type(self).after is not TransformerLayer.after:
            return self.after(norm, self.dropout_module(x), residual)
        return self.finish(norm, x, residual)

    def _scaled_attention(self, x: Tensor) -> Tensor:
        """The result of self-attention (T, B, C), each head times its factor and normalised, where those are there."""
        if self.c_attn is not None:
            x = (x.unflatten(-1, (self.c_attn.numel(), -1)) * self.c_attn.unsqueeze(1)).flatten(-2)
        return x if self.attn_ln is None else self.attn_ln(x)

    def _self_attention_reads(
        self,
        x: Tensor,
        encoder_out: Optional[Tensor],
        encoder_padding_mask: Optional[Tensor],
        incremental_state: Optional[IncrementalState],
        attn_mask: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        """What self-attention attends to, with its masks; with `cross_self_attention` the encoder's output comes
        first."""
        if not self.cross_self_attention or encoder_out is None:
            return x, attn_mask, padding_mask
        if self.self_attn.get_incremental_state(incremental_state, "attn_state"):
            return x, attn_mask, padding_mask
        source = encoder_out.size(0)
        if attn_mask is not None:
            attn_mask = torch.cat([attn_mask.new_zeros(x.size(0), source), attn_mask], dim=1)
        if padding_mask is not None or encoder_padding_mask is not None:
            none = torch.zeros(x.size(1), 1, dtype=torch.bool, device=x.device)
            before = none.expand(-1, source) if encoder_padding_mask is None else encoder_padding_mask
            behind = none.expand(-1, x.size(0)) if padding_mask is None else padding_mask
            padding_mask = torch.cat([before, behind], dim=1)
        return torch.cat([encoder_out, x]), attn_mask, padding_mask

    def make_generation_fast_(self, need_attn: bool = False, **kwargs: Any) -> None:
        """Called before inference: compute attention probabilities only if they are requested."""
        self.need_attn = need_attn

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Old checkpoints number the layer norms."""
        self.rename_layer_norms(
            state_dict, name, ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
        )


def _start_from(
    attention: MultiheadAttention, incremental_state: Optional[IncrementalState], previous: Optional[list[Tensor]]
) -> None:
    """Put given keys and values into the incremental state."""
    if previous is None:
        return
    assert incremental_state is not None, "earlier keys and values need an incremental state"
    kept: state.State = {"prev_key": previous[0], "prev_value": previous[1]}
    if len(previous) >= 3:
        kept["prev_key_padding_mask"] = previous[2]
    attention._set_input_buffer(incremental_state, kept)


class TransformerDecoderLayer(TransformerDecoderLayerBase):
    """The same layer built from flat arguments."""

    def __init__(
        self, args: Any, no_encoder_attn: bool = False, add_bias_kv: bool = False, add_zero_attn: bool = False
    ):
        super().__init__(
            TransformerConfig.from_namespace(args),
            no_encoder_attn=no_encoder_attn,
            add_bias_kv=add_bias_kv,
            add_zero_attn=add_zero_attn,
        )

    def build_self_attention(
        self, embed_dim: int, args: Any, add_bias_kv: bool = False, add_zero_attn: bool = False
    ) -> MultiheadAttention:
        return super().build_self_attention(
            embed_dim, TransformerConfig.from_namespace(args), add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn
        )

    def build_encoder_attention(self, embed_dim: int, args: Any) -> MultiheadAttention:
        return super().build_encoder_attention(embed_dim, TransformerConfig.from_namespace(args))
