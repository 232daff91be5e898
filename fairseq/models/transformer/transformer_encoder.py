"""The transformer's encoder (Vaswani et al., arXiv:1706.03762, section 3.1).

    x_0 = dropout(LN(scale * embed(tokens) + positions)),   x_i = layer_i(x_{i-1}),   [pre-norm: LN(x_N)]

Inside, tensors are time x batch x channel (T, B, C).
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.modules.attention.masks import padding_mask
from fairseq.modules.checkpoint_activations import checkpointed
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.layer_drop import LayerDropModuleList
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayerBase
from fairseq.quantization.bits import bits_for

EncoderOutput = dict[str, list[Any]]


def module_name_fordropout(module_name: str) -> str:
    """The name under which `retain_dropout_modules` knows the dropout of a class of encoders."""
    return "TransformerEncoder" if module_name == "TransformerEncoderBase" else module_name


class TransformerEncoderBase(FairseqEncoder):
    """A stack of `cfg.encoder.layers` layers on embedded tokens.

    Args:
        cfg: the model's config.
        dictionary: of the source.
        embed_tokens: token embedding; its `padding_idx` says what padding is.
        return_fc: layers also return their feed-forward results (`fc_results`).
    """

    def __init__(self, cfg: TransformerConfig, dictionary: Any, embed_tokens: nn.Embedding, return_fc: bool = False):
        super().__init__(dictionary)
        self.cfg = cfg
        self.return_fc = return_fc
        self.register_buffer("version", torch.tensor([3.0]))
        self.dropout_module = FairseqDropout(cfg.dropout, module_name=module_name_fordropout(type(self).__name__))

        width = embed_tokens.embedding_dim
        assert embed_tokens.padding_idx is not None
        self.padding_idx: int = embed_tokens.padding_idx
        self.max_source_positions = cfg.max_source_positions
        self.embed_tokens = embed_tokens
        self.embed_scale = 1.0 if cfg.no_scale_embedding else math.sqrt(width)
        self.embed_positions = (
            None
            if cfg.no_token_positional_embeddings
            else PositionalEmbedding(cfg.max_source_positions, width, self.padding_idx, learned=cfg.encoder.learned_pos)
        )
        self.layernorm_embedding = LayerNorm(width) if cfg.layernorm_embedding else None
        noise, block_size = cfg.quant_noise.pq, cfg.quant_noise.pq_block_size
        self.quant_noise = (
            quant_noise(nn.Linear(width, width, bias=False), noise, block_size)
            if noise > 0 and not cfg.adaptive_input
            else None
        )

        self.encoder_layerdrop = cfg.encoder.layerdrop
        layers = [self.build_encoder_layer(cfg) for _ in range(cfg.encoder.layers)]
        self.layers = (
            LayerDropModuleList(self.encoder_layerdrop, layers) if self.encoder_layerdrop > 0 else nn.ModuleList(layers)
        )
        self.num_layers = len(self.layers)
        self.layer_norm = LayerNorm(width) if cfg.encoder.normalize_before else None

    def build_encoder_layer(self, cfg: TransformerConfig) -> nn.Module:
        return TransformerEncoderLayerBase(cfg, return_fc=self.return_fc)

    def forward_embedding(self, src_tokens: Tensor, token_embedding: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
        """The first layer's input and the scaled token embeddings, (B, T, C) both."""
        if token_embedding is None:
            token_embedding = self.embed_tokens(src_tokens)
        x = embedded = token_embedding if self.embed_scale == 1.0 else self.embed_scale * token_embedding
        if self.embed_positions is not None:
            x = embedded + self.embed_positions(src_tokens)
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        x = self.dropout_module(x)
        if self.quant_noise is not None:
            x = self.quant_noise(x)
        return x, embedded

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> EncoderOutput:
        """Encode `src_tokens` (B, T).

        Args:
            src_lengths: accepted for the sake of the interface; lengths follow from the padding.
            return_all_hiddens: also return the input of the first layer and the output of each.
            token_embeddings: (B, T, C), to be used in place of `embed_tokens(src_tokens)`.
            num_bits: bits of the quantizers that follow.

        Returns:
            A dict of lists, empty if there is nothing: `encoder_out` [(T, B, C)], `encoder_padding_mask` [(B, T)],
            `encoder_embedding` [(B, T, C)], `encoder_states` [(T, B, C), ...], `fc_results`, `src_tokens` (empty),
            `src_lengths` [(B, 1)].
        """
        encoder_padding_mask, applied_mask = padding_mask(src_tokens, self.padding_idx)
        x, encoder_embedding = self.forward_embedding(src_tokens, token_embeddings)
        if applied_mask is not None:
            x = x.masked_fill(applied_mask.unsqueeze(-1), 0)
        x = x.transpose(0, 1).contiguous()  # (B, T, C) -> (T, B, C)

        encoder_states = [x] if return_all_hiddens else []
        fc_results: list[Optional[Tensor]] = []
        for layer in self.layers:
            x, fc_result = self._run_layer(layer, x, applied_mask, bits_for(layer, num_bits))
            if return_all_hiddens:
                encoder_states.append(x)
                fc_results.append(fc_result)
        if self.layer_norm is not None:
            x = self.layer_norm(x)

        return {
            "encoder_out": [x],
            "encoder_padding_mask": [encoder_padding_mask],
            "encoder_embedding": [encoder_embedding],
            "encoder_states": encoder_states,
            "fc_results": fc_results,
            "src_tokens": [],
            "src_lengths": [(~encoder_padding_mask).sum(dim=1, keepdim=True, dtype=torch.int32)],
        }

    def _run_layer(
        self, layer: nn.Module, x: Tensor, mask: Optional[Tensor], bits: dict[str, int]
    ) -> tuple[Tensor, Optional[Tensor]]:
        if self.cfg.checkpoint_activations and self.training:
            output = checkpointed(layer, x, mask, offload_to_cpu=self.cfg.offload_activations, **bits)
        else:
            output = layer(x, encoder_padding_mask=mask, **bits)
        return output if isinstance(output, tuple) else (output, None)

    def reorder_encoder_out(self, encoder_out: EncoderOutput, new_order: Tensor) -> EncoderOutput:
        """`encoder_out` with its sentences in the order of `new_order`."""
        batch_dims = {"encoder_out": 1, "encoder_states": 1}
        return {
            name: [item.index_select(batch_dims.get(name, 0), new_order) for item in items if item is not None]
            for name, items in encoder_out.items()
            if name != "fc_results"
        }

    def max_positions(self) -> int:
        """The longest source in tokens."""
        if self.embed_positions is None:
            return self.max_source_positions
        return min(self.max_source_positions, self.embed_positions.max_positions)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> dict[str, Any]:
        """Checkpoints older than `version` 2 have no layer norm behind the last layer."""
        key = f"{name}.version"
        if float(state_dict.get(key, torch.tensor([1.0]))[0]) < 2:
            self.layer_norm = None
            state_dict[key] = torch.tensor([1.0])
        return state_dict


class TransformerEncoder(TransformerEncoderBase):
    """The same encoder built from flat arguments (`encoder_embed_dim`, ...)."""

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding, return_fc: bool = False):
        self.args = args
        super().__init__(TransformerConfig.from_namespace(args), dictionary, embed_tokens, return_fc=return_fc)

    def build_encoder_layer(self, args: Any) -> nn.Module:
        return super().build_encoder_layer(TransformerConfig.from_namespace(args))
