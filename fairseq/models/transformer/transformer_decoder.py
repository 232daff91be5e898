"""The transformer's decoder (Vaswani et al., arXiv:1706.03762, section 3.1).

    x_0 = dropout(LN(scale * embed(y_<t) + positions)),   x_i = layer_i(x_{i-1}, encoder_out),   scores = W_out x_N

Inside, tensors are time x batch x channel (T, B, C). With `incremental_state` only the newest position is computed.
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.errors import ConfigError
from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.models.fairseq_incremental_decoder import FairseqIncrementalDecoder
from fairseq.modules.adaptive_input import AdaptiveInput
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.modules.attention.masks import applied
from fairseq.modules.checkpoint_activations import checkpointed
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.layer_drop import LayerDropModuleList
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.transformer_decoder_layer import TransformerDecoderLayerBase
from fairseq.modules.unmodified import is_unmodified
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear


def Linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """A Linear with Xavier-uniform weights and zero bias."""
    layer = nn.Linear(in_features, out_features, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def module_name_fordropout(module_name: str) -> str:
    """The name under which `retain_dropout_modules` knows the dropout of a class of decoders."""
    return "TransformerDecoder" if module_name == "TransformerDecoderBase" else module_name


class TransformerDecoderBase(FairseqIncrementalDecoder):
    """A stack of `cfg.decoder.layers` layers and the projection onto the dictionary.

    Args:
        cfg: the model's config.
        dictionary: of the target.
        embed_tokens: token embedding; its `padding_idx` says what padding is.
        no_encoder_attn: no attention to an encoder (language models).
        output_projection: from features to scores; made here if None.
    """

    def __init__(
        self,
        cfg: TransformerConfig,
        dictionary: Any,
        embed_tokens: nn.Embedding,
        no_encoder_attn: bool = False,
        output_projection: Optional[nn.Module] = None,
    ):
        super().__init__(dictionary)
        if cfg.adaptive_input and not isinstance(embed_tokens, AdaptiveInput):
            raise ConfigError("model.adaptive_input is for language models (--arch transformer_lm); leave it out")
        self.cfg = cfg
        self.register_buffer("version", torch.tensor([3.0]))
        self._future_mask = torch.empty(0)
        self.dropout_module = FairseqDropout(cfg.dropout, module_name=module_name_fordropout(type(self).__name__))
        self.share_input_output_embed = cfg.share_decoder_input_output_embed

        input_width, width = embed_tokens.embedding_dim, cfg.decoder.embed_dim
        self.embed_dim = width
        self.output_embed_dim = cfg.decoder.output_width
        assert embed_tokens.padding_idx is not None
        self.padding_idx: int = embed_tokens.padding_idx
        self.max_target_positions = cfg.max_target_positions
        self.embed_tokens = embed_tokens
        self.embed_scale = 1.0 if cfg.no_scale_embedding else math.sqrt(width)
        noise, block_size = cfg.quant_noise.pq, cfg.quant_noise.pq_block_size
        self.quant_noise = (
            quant_noise(nn.Linear(width, width, bias=False), noise, block_size)
            if noise > 0 and not cfg.adaptive_input
            else None
        )
        self.project_in_dim = Linear(input_width, width, bias=False) if width != input_width else None
        self.embed_positions = (
            None
            if cfg.no_token_positional_embeddings
            else PositionalEmbedding(cfg.max_target_positions, width, self.padding_idx, learned=cfg.decoder.learned_pos)
        )
        self.layernorm_embedding = LayerNorm(width) if cfg.layernorm_embedding else None

        self.cross_self_attention = cfg.cross_self_attention
        self.decoder_layerdrop = cfg.decoder.layerdrop
        layers = [self.build_decoder_layer(cfg, no_encoder_attn) for _ in range(cfg.decoder.layers)]
        self.layers = (
            LayerDropModuleList(self.decoder_layerdrop, layers) if self.decoder_layerdrop > 0 else nn.ModuleList(layers)
        )
        self.num_layers = len(self.layers)
        final_norm = cfg.decoder.normalize_before and not cfg.no_decoder_final_norm
        self.layer_norm = LayerNorm(width) if final_norm else None
        self.project_out_dim = (
            Linear(width, self.output_embed_dim, bias=False)
            if width != self.output_embed_dim and not cfg.tie_adaptive_weights
            else None
        )
        self.output_projection = output_projection
        if output_projection is None:
            self.build_output_projection(cfg, dictionary, embed_tokens)

    def build_output_projection(self, cfg: TransformerConfig, dictionary: Any, embed_tokens: nn.Embedding) -> None:
        """Make `output_projection`, with the embedding's weights where they are shared, or `adaptive_softmax`."""
        if cfg.adaptive_softmax_cutoff is not None:
            if cfg.tie_adaptive_weights and not isinstance(embed_tokens, AdaptiveInput):
                raise ConfigError(
                    "model.tie_adaptive_weights shares the weights of an adaptive input, which language models"
                    " have; leave it out"
                )
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary),
                self.output_embed_dim,
                cfg.adaptive_softmax_cutoff,
                dropout=cfg.adaptive_softmax_dropout,
                factor=cfg.adaptive_softmax_factor,
                adaptive_inputs=embed_tokens if cfg.tie_adaptive_weights else None,  # type: ignore[arg-type]
                tie_proj=cfg.tie_adaptive_proj,
            )
        elif self.share_input_output_embed:
            if self.output_embed_dim != embed_tokens.embedding_dim:
                raise ConfigError(
                    f"share_decoder_input_output_embed: the embedding is {embed_tokens.embedding_dim} wide,"
                    f" the output {self.output_embed_dim} (model.decoder_output_dim)"
                )
            self.output_projection = QLinear(
                embed_tokens.embedding_dim, embed_tokens.num_embeddings, bias=False, quantized=False
            )
            self.output_projection.weight = embed_tokens.weight
        else:
            self.output_projection = QLinear(self.output_embed_dim, len(dictionary), bias=False, quantized=False)
            nn.init.normal_(self.output_projection.weight, mean=0, std=self.output_embed_dim**-0.5)

    def build_decoder_layer(self, cfg: TransformerConfig, no_encoder_attn: bool = False) -> nn.Module:
        return TransformerDecoderLayerBase(cfg, no_encoder_attn)

    def forward(  # type: ignore[override]  # the arguments it has, in place of any
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[dict[str, list[Tensor]]] = None,
        incremental_state: Optional[IncrementalState] = None,
        features_only: bool = False,
        full_context_alignment: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        src_lengths: Optional[Any] = None,
        return_all_hiddens: bool = False,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Scores (B, T, V) after each of `prev_output_tokens` (B, T); T is 1 with `incremental_state`.

        Args:
            encoder_out: what the encoder returned.
            features_only: return features (B, T, C) instead.
            full_context_alignment: let positions see later ones.
            alignment_layer: the layer whose attention to the encoder is returned (default: the last).
            alignment_heads: average only this many heads of it (default: all).
            src_lengths, return_all_hiddens: accepted for the sake of the interface.
            num_bits: bits of the quantizers that follow.

        Returns:
            Scores or features, and `{"attn": [(B, T, S) or None], "inner_states": [(T, B, C), ...]}`.
        """
        x, extra = self.extract_features(
            prev_output_tokens,
            encoder_out=encoder_out,
            incremental_state=incremental_state,
            full_context_alignment=full_context_alignment,
            alignment_layer=alignment_layer,
            alignment_heads=alignment_heads,
            **bits_for(self, num_bits, "extract_features"),
        )
        if not features_only:
            x = self.output_layer(x, **bits_for(self, num_bits, "output_layer"))
        return x, extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[dict[str, list[Tensor]]] = None,
        incremental_state: Optional[IncrementalState] = None,
        full_context_alignment: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Like `forward`, without the output layer."""
        alignment_layer = self.num_layers - 1 if alignment_layer is None else alignment_layer
        memory, memory_mask = _memory(encoder_out)
        x = self.forward_embedding(prev_output_tokens, incremental_state)
        x = x.transpose(0, 1).contiguous()  # (B, T, C) -> (T, B, C)
        newest = prev_output_tokens[:, -x.size(0) :]
        padding_mask = applied(newest.eq(self.padding_idx))
        see_all = incremental_state is not None or full_context_alignment
        future_mask = None if see_all else self.buffered_future_mask(x)

        attn: Optional[Tensor] = None
        inner_states = [x]
        for number, layer in enumerate(self.layers):
            x, layer_attn, _ = self._run_layer(
                layer,
                x,
                memory,
                memory_mask,
                incremental_state,
                self_attn_mask=future_mask,
                self_attn_padding_mask=padding_mask,
                need_attn=number == alignment_layer,
                need_head_weights=number == alignment_layer,
                **bits_for(layer, num_bits),
            )
            inner_states.append(x)
            if number == alignment_layer:
                attn = layer_attn
        if attn is not None:
            attn = attn[:alignment_heads].mean(dim=0)  # (H, B, T, S) -> (B, T, S)
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        x = x.transpose(0, 1)  # (T, B, C) -> (B, T, C)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        return x, {"attn": [attn], "inner_states": inner_states}

    def forward_embedding(
        self, prev_output_tokens: Tensor, incremental_state: Optional[IncrementalState] = None
    ) -> Tensor:
        """The first layer's input (B, T, C) for all positions, or (B, 1, C) for the newest in incremental decoding."""
        positions = None
        if self.embed_positions is not None:
            positions = self.embed_positions(prev_output_tokens, incremental_state=incremental_state)
        tokens = prev_output_tokens if incremental_state is None else prev_output_tokens[:, -1:]
        x = self.embed_tokens(tokens)
        if self.embed_scale != 1.0:
            x = self.embed_scale * x
        if self.quant_noise is not None:
            x = self.quant_noise(x)
        if self.project_in_dim is not None:
            x = self.project_in_dim(x)
        if positions is not None:
            x = x + positions
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x)

    def _run_layer(self, layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self.cfg.checkpoint_activations and self.training:
            return checkpointed(layer, *args, offload_to_cpu=self.cfg.offload_activations, **kwargs)
        return layer(*args, **kwargs)

    def output_layer(self, features: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Scores over the dictionary; the features themselves where an adaptive softmax follows, which the criterion or
        `get_normalized_probs` calls."""
        if self.adaptive_softmax is not None:
            return features
        assert self.output_projection is not None
        return self.output_projection(features, **bits_for(self.output_projection, num_bits))

    def shares_source(self) -> bool:
        """Whether `encoder_out` may have a row for several rows of tokens in succession. Layers of a subclass, and
        those that attend to the encoder with other things, may want a row for each."""
        own = all(getattr(type(self), name) is getattr(TransformerDecoderBase, name) for name in _READ_ENCODER_OUT)
        return own and not self.cross_self_attention and all(map(_attends_as_usual, self.layers))

    def buffered_future_mask(self, tensor: Tensor) -> Tensor:
        """(T, T) for `tensor` (T, ...): -inf above the diagonal; kept for the next call."""
        length = tensor.size(0)
        mask = self._future_mask
        # a graph has no mask of one length in it
        if (
            torch.compiler.is_exporting()
            or mask.device != tensor.device
            or mask.dtype != tensor.dtype
            or mask.size(0) < length
        ):
            mask = torch.full((length, length), float("-inf"), dtype=tensor.dtype, device=tensor.device).triu_(1)
            self._future_mask = mask
        return mask[:length, :length]

    def max_positions(self) -> int:
        """The longest target in tokens."""
        if self.embed_positions is None:
            return self.max_target_positions
        return min(self.max_target_positions, self.embed_positions.max_positions)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> dict[str, Any]:
        """Old names of the output projection; no layer norm behind the last layer before `version` 3."""
        projection = f"{name}.output_projection.weight"
        if f"{name}.embed_out" in state_dict:
            state_dict[projection] = state_dict.pop(f"{name}.embed_out")
        if self.share_input_output_embed and projection not in state_dict:
            state_dict[projection] = state_dict[f"{name}.embed_tokens.weight"]
        key = f"{name}.version"
        if float(state_dict.get(key, torch.tensor([1.0]))[0]) <= 2:
            self.layer_norm = None
            state_dict[key] = torch.tensor([1.0])
        return state_dict


_READ_ENCODER_OUT = ("forward", "extract_features", "_run_layer")  # methods


def _attends_as_usual(layer: Any) -> bool:
    if not isinstance(layer, TransformerDecoderLayerBase) or "forward" in vars(layer):
        return False
    if type(layer).forward is not TransformerDecoderLayerBase.forward:
        return False
    return layer.encoder_attn is None or is_unmodified(layer.encoder_attn, MultiheadAttention)


def _memory(encoder_out: Optional[dict[str, list[Tensor]]]) -> tuple[Optional[Tensor], Optional[Tensor]]:
    """The encoder's output (S, B, C) and its padding mask (B, S), as far as there are any."""
    if encoder_out is None or not encoder_out["encoder_out"]:
        return None, None
    masks = encoder_out["encoder_padding_mask"]
    return encoder_out["encoder_out"][0], applied(masks[0]) if masks else None


class TransformerDecoder(TransformerDecoderBase):
    """The same decoder built from flat arguments (`decoder_embed_dim`, ...)."""

    def __init__(
        self,
        args: Any,
        dictionary: Any,
        embed_tokens: nn.Embedding,
        no_encoder_attn: bool = False,
        output_projection: Optional[nn.Module] = None,
    ):
        self.args = args
        super().__init__(
            TransformerConfig.from_namespace(args),
            dictionary,
            embed_tokens,
            no_encoder_attn=no_encoder_attn,
            output_projection=output_projection,
        )

    def build_output_projection(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding) -> None:
        super().build_output_projection(TransformerConfig.from_namespace(args), dictionary, embed_tokens)

    def build_decoder_layer(self, args: Any, no_encoder_attn: bool = False) -> nn.Module:
        return super().build_decoder_layer(TransformerConfig.from_namespace(args), no_encoder_attn=no_encoder_attn)
