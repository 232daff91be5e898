"""Layers of lightconv models (Wu et al., arXiv:1901.10430, section 3): a convolution block in the place of
self-attention, attention to the encoder in decoders, and feed-forward.

    h = W_2 conv(GLU(W_1 x)),   conv: lightweight or dynamic
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.models.transformer.transformer_decoder import Linear as XavierLinear
from fairseq.modules.attention import state
from fairseq.modules.dynamic_convolution import DynamicConv_scripatable
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.lightweight_convolution import LightweightConv1dTBC
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.quantization.bits import bits_for


def Linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """A Linear with Xavier-uniform weights and zero bias."""
    return XavierLinear(in_features, out_features, bias)


class _Layer(nn.Module):
    """What both kinds have: blocks with residuals around them, and norms in front or behind.

    Args:
        side: "encoder" or "decoder".
        padding_l: steps before each that its window begins at.
    """

    linear1: nn.Module
    fc1: nn.Module

    def _build_convolution(self, args: Any, side: str, kernel_size: int, padding_l: int) -> None:
        self.embed_dim: int = getattr(args, f"{side}_embed_dim")
        self.conv_dim: int = getattr(args, f"{side}_conv_dim")
        self.normalize_before: bool = getattr(args, f"{side}_normalize_before")
        gated = getattr(args, f"{side}_glu")
        self.linear1 = Linear(self.embed_dim, self.conv_dim * (2 if gated else 1))
        self.act = nn.GLU() if gated else None
        settings = {
            "padding_l": padding_l,
            "weight_softmax": args.weight_softmax,
            "num_heads": getattr(args, f"{side}_attention_heads"),
            "weight_dropout": args.weight_dropout,
        }
        if getattr(args, f"{side}_conv_type") == "lightweight":
            self.conv: nn.Module = LightweightConv1dTBC(self.conv_dim, kernel_size, **settings)
        else:
            self.conv = DynamicConv_scripatable(self.conv_dim, kernel_size, **settings)
        self.linear2 = Linear(self.conv_dim, self.embed_dim)
        name = type(self).__name__
        self.dropout_module = FairseqDropout(args.dropout, module_name=name)
        self.relu_dropout_module = FairseqDropout(args.relu_dropout, module_name=name)
        self.input_dropout_module = FairseqDropout(args.input_dropout, module_name=name)

    def _build_feed_forward(self, width: int) -> None:
        self.fc1, self.fc2 = Linear(self.embed_dim, width), Linear(width, self.embed_dim)

    def _before(self, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x) if self.normalize_before else x  # type: ignore[no-any-return]

    def _after(self, norm: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
        x = residual + self.dropout_module(x)
        return x if self.normalize_before else norm(x)  # type: ignore[no-any-return]

    def _convolution(
        self, x: Tensor, padding: Optional[Tensor], kept: Optional[IncrementalState], num_bits: Optional[int]
    ) -> Tensor:
        x = self.linear1(self.input_dropout_module(x), **bits_for(self.linear1, num_bits))
        if self.act is not None:
            x = self.act(x)
        if padding is not None:
            x = x.masked_fill(padding.t().unsqueeze(-1), 0)  # (B, T) -> (T, B, 1)
        x = self.conv(x, incremental_state=kept, **bits_for(self.conv, num_bits))
        return self.linear2(x, **bits_for(self.linear2, num_bits))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor, num_bits: Optional[int]) -> Tensor:
        x = self.relu_dropout_module(F.relu(self.fc1(x, **bits_for(self.fc1, num_bits))))
        return self.fc2(x, **bits_for(self.fc2, num_bits))  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return (
            f"dropout={self.dropout_module.p}, relu_dropout={self.relu_dropout_module.p}, "
            f"input_dropout={self.input_dropout_module.p}, normalize_before={self.normalize_before}"
        )


class LightConvEncoderLayer(_Layer):
    """A layer of the encoder.

    Args:
        args: the model's config.
        kernel_size: of its convolution.
    """

    def __init__(self, args: Any, kernel_size: int = 0):
        super().__init__()
        self._build_convolution(args, "encoder", kernel_size, padding_l=(kernel_size - 1) // 2)
        self._build_feed_forward(args.encoder_ffn_embed_dim)
        self.layer_norm1 = LayerNorm(self.embed_dim)
        self.layer_norm2 = LayerNorm(self.embed_dim)

    def forward(
        self, x: Tensor, encoder_padding_mask: Optional[Tensor] = None, num_bits: Optional[int] = None
    ) -> Tensor:
        """`x` (T, B, C) to the same; the mask (B, T) is True at padding."""
        y = self._convolution(self._before(self.layer_norm1, x), encoder_padding_mask, None, num_bits)
        x = self._after(self.layer_norm1, y, x)
        return self._after(self.layer_norm2, self._feed_forward(self._before(self.layer_norm2, x), num_bits), x)


class LightConvDecoderLayer(_Layer):
    """A layer of the decoder.

    Args:
        args: the model's config.
        no_encoder_attn: no attention to an encoder.
        kernel_size: of its convolution.
    """

    def __init__(
        self, args: Any, no_encoder_attn: bool = False, kernel_size: int = 0, dictionary: Optional[Any] = None
    ):
        super().__init__()
        self.need_attn = True
        self._build_convolution(args, "decoder", kernel_size, kernel_size - 1)
        self.conv_layer_norm = LayerNorm(self.embed_dim)
        self.encoder_attn: Optional[MultiheadAttention] = None
        self.encoder_attn_layer_norm: Optional[nn.Module] = None
        if not no_encoder_attn:
            self.encoder_attn = MultiheadAttention(
                self.embed_dim,
                args.decoder_attention_heads,
                kdim=args.encoder_embed_dim,
                vdim=args.encoder_embed_dim,
                dropout=args.attention_dropout,
                encoder_decoder_attention=True,
            )
            self.encoder_attn_layer_norm = LayerNorm(self.embed_dim)
        self._build_feed_forward(args.decoder_ffn_embed_dim)
        self.final_layer_norm = LayerNorm(self.embed_dim)

    def forward(
        self,
        x: Tensor,
        encoder_out: Optional[Tensor],
        encoder_padding_mask: Optional[Tensor],
        incremental_state: Optional[IncrementalState],
        prev_conv_state: Optional[Tensor] = None,
        prev_attn_state: Optional[tuple[Tensor, Tensor]] = None,
        conv_mask: Optional[Tensor] = None,
        conv_padding_mask: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """`x` (T, B, C) to the same and attention (B, T, S), or None.

        Args:
            encoder_out: (S, B, C_enc).
            encoder_padding_mask: (B, S), True at padding.
            prev_conv_state: inputs of earlier steps to begin with, (K - 1, B, C).
            prev_attn_state: keys and values to begin with.
            conv_mask, conv_padding_mask: accepted for the sake of the interface.
        """
        if prev_conv_state is not None:
            self.conv._set_input_buffer(incremental_state, prev_conv_state)  # type: ignore[operator]
        y = self._convolution(self._before(self.conv_layer_norm, x), None, incremental_state, num_bits)
        x = self._after(self.conv_layer_norm, y, x)
        attn: Optional[Tensor] = None
        if self.encoder_attn is not None and self.encoder_attn_layer_norm is not None:
            if prev_attn_state is not None and incremental_state is not None:
                kept: state.State = {"prev_key": prev_attn_state[0], "prev_value": prev_attn_state[1]}
                self.encoder_attn._set_input_buffer(incremental_state, kept)
            y, attn = self.encoder_attn(
                self._before(self.encoder_attn_layer_norm, x),
                encoder_out,
                encoder_out,
                key_padding_mask=encoder_padding_mask,
                incremental_state=incremental_state,
                static_kv=True,
                need_weights=not self.training and self.need_attn,
                **bits_for(self.encoder_attn, num_bits),
            )
            x = self._after(self.encoder_attn_layer_norm, y, x)
        y = self._feed_forward(self._before(self.final_layer_norm, x), num_bits)
        return self._after(self.final_layer_norm, y, x), attn

    def make_generation_fast_(self, need_attn: bool = False, **kwargs: Any) -> None:
        """Called before inference: compute attention probabilities only if they are requested."""
        self.need_attn = need_attn
