"""The decoder of lightconv models (Wu et al., arXiv:1901.10430); without an encoder a language model."""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.dataclass.utils import eval_str_list
from fairseq.errors import ConfigError
from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.models.fairseq_incremental_decoder import FairseqIncrementalDecoder
from fairseq.models.language_model_settings import given
from fairseq.models.lightconv.layers import LightConvDecoderLayer, Linear
from fairseq.models.lightconv.settings import kernel_sizes
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear


class LightConvDecoder(FairseqIncrementalDecoder):
    """`args.decoder_layers` layers and the projection onto the dictionary.

    Args:
        args: the model's config.
        dictionary: of the target.
        embed_tokens: token embedding.
        no_encoder_attn: no attention to an encoder (language models).
        final_norm: layer norm behind the last layer, where norms are in front of blocks.
    """

    def __init__(
        self,
        args: Any,
        dictionary: Any,
        embed_tokens: Any,
        no_encoder_attn: bool = False,
        final_norm: bool = True,
    ):
        super().__init__(dictionary)
        self.dropout_module = FairseqDropout(args.dropout, module_name=type(self).__name__)
        self.share_input_output_embed = args.share_decoder_input_output_embed
        tied, width, output_width = given(args, "tie_adaptive_weights"), args.decoder_embed_dim, args.decoder_output_dim
        self.padding_idx: int = embed_tokens.padding_idx
        self.max_target_positions = args.max_target_positions
        self.embed_tokens = embed_tokens
        self.embed_scale = math.sqrt(width)
        input_width = embed_tokens.embedding_dim
        self.project_in_dim = Linear(input_width, width, bias=False) if input_width != width else None
        self.embed_positions = (
            None
            if args.no_token_positional_embeddings
            else PositionalEmbedding(
                args.max_target_positions, width, self.padding_idx, learned=args.decoder_learned_pos
            )
        )
        sizes = kernel_sizes(args, "decoder")
        self.layers = nn.ModuleList(LightConvDecoderLayer(args, no_encoder_attn, kernel_size=size) for size in sizes)
        self.project_out_dim = Linear(width, output_width, bias=False) if width != output_width and not tied else None
        self.output_projection: Optional[nn.Module] = None
        if args.adaptive_softmax_cutoff is not None:
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary),
                output_width,
                eval_str_list(args.adaptive_softmax_cutoff, int) or [],
                dropout=args.adaptive_softmax_dropout,
                adaptive_inputs=embed_tokens if tied else None,
                factor=given(args, "adaptive_softmax_factor") or 4.0,
                tie_proj=bool(given(args, "tie_adaptive_proj")),
            )
        elif self.share_input_output_embed:
            if output_width != input_width:
                raise ConfigError(
                    f"model.share_decoder_input_output_embed: the embedding is {input_width} wide, the output"
                    f" {output_width} (decoder_output_dim)"
                )
            self.output_projection = QLinear(output_width, len(dictionary), bias=False, quantized=False)
            self.output_projection.weight = embed_tokens.weight
        else:
            self.output_projection = QLinear(output_width, len(dictionary), bias=False, quantized=False)
            nn.init.normal_(self.output_projection.weight, mean=0, std=output_width**-0.5)
        self.register_buffer("version", torch.tensor([2.0]))
        self.normalize = args.decoder_normalize_before and final_norm
        self.layer_norm = LayerNorm(width) if self.normalize else None

    def forward(  # type: ignore[override]  # the arguments it has, in place of any
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[dict[str, list[Tensor]]] = None,
        incremental_state: Optional[IncrementalState] = None,
        src_lengths: Optional[Any] = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Scores (B, T, V) for `prev_output_tokens` (B, T), and the last layer's `attn` (B, T, S) or None, with
        `inner_states` [(T, B, C), ...]; T is 1 with `incremental_state`."""
        x, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state, num_bits=num_bits)
        return self.output_layer(x, num_bits=num_bits), extra

    def extract_features(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[dict[str, list[Tensor]]] = None,
        incremental_state: Optional[IncrementalState] = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Like `forward`, without the output layer."""
        memory = memory_mask = None
        if encoder_out is not None:
            memory = encoder_out["encoder_out"][0]
            memory_mask = next(iter(encoder_out["encoder_padding_mask"]), None)
        tokens = prev_output_tokens if incremental_state is None else prev_output_tokens[:, -1:]
        x = self.embed_scale * self.embed_tokens(tokens)
        if self.project_in_dim is not None:
            x = self.project_in_dim(x, **bits_for(self.project_in_dim, num_bits))
        if self.embed_positions is not None:
            x = x + self.embed_positions(prev_output_tokens, incremental_state=incremental_state)
        x = self.dropout_module(x).transpose(0, 1)  # (B, T, C) -> (T, B, C)
        attn: Optional[Tensor] = None
        inner_states = [x]
        for layer in self.layers:
            x, attn = layer(x, memory, memory_mask, incremental_state, **bits_for(layer, num_bits))
            inner_states.append(x)
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        x = x.transpose(0, 1)  # (T, B, C) -> (B, T, C)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x, **bits_for(self.project_out_dim, num_bits))
        return x, {"attn": attn, "inner_states": inner_states}

    def output_layer(self, features: Tensor, num_bits: Optional[int] = None, **unused: Any) -> Tensor:  # type: ignore[override]
        """Scores; the features themselves where an adaptive softmax follows."""
        if self.output_projection is None:
            return features
        return self.output_projection(features, **bits_for(self.output_projection, num_bits))  # type: ignore[no-any-return]

    def max_positions(self) -> int:
        """The longest target in tokens."""
        if self.embed_positions is None:
            return self.max_target_positions  # type: ignore[no-any-return]
        return min(self.max_target_positions, self.embed_positions.max_positions)
