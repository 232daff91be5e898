"""The encoder of lightconv models (Wu et al., arXiv:1901.10430)."""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.lightconv.layers import LightConvEncoderLayer
from fairseq.models.lightconv.settings import kernel_sizes
from fairseq.modules.attention.masks import padding_mask
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.quantization.bits import bits_for


class LightConvEncoder(FairseqEncoder):
    """`args.encoder_layers` layers on embedded tokens.

    Args:
        args: the model's config.
        dictionary: of the source.
        embed_tokens: token embedding.
    """

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding):
        super().__init__(dictionary)
        self.dropout_module = FairseqDropout(args.dropout, module_name=type(self).__name__)
        width = embed_tokens.embedding_dim
        assert embed_tokens.padding_idx is not None
        self.padding_idx: int = embed_tokens.padding_idx
        self.max_source_positions = args.max_source_positions
        self.embed_tokens = embed_tokens
        self.embed_scale = math.sqrt(width)
        self.embed_positions = (
            None
            if args.no_token_positional_embeddings
            else PositionalEmbedding(
                args.max_source_positions, width, self.padding_idx, learned=args.encoder_learned_pos
            )
        )
        sizes = kernel_sizes(args, "encoder")
        self.layers = nn.ModuleList(LightConvEncoderLayer(args, kernel_size=size) for size in sizes)
        self.register_buffer("version", torch.tensor([2.0]))
        self.normalize = args.encoder_normalize_before
        self.layer_norm = LayerNorm(width) if self.normalize else None

    def forward(
        self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None, num_bits: Optional[int] = None
    ) -> dict[str, list[Tensor]]:
        """Encode `src_tokens` (B, S): `encoder_out` [(S, B, C)], `encoder_padding_mask` [(B, S)], empty without
        padding."""
        mask, applied = padding_mask(src_tokens, self.padding_idx)
        x = self.embed_scale * self.embed_tokens(src_tokens)
        if self.embed_positions is not None:
            x = x + self.embed_positions(src_tokens)
        x = self.dropout_module(x).transpose(0, 1)  # (B, S, C) -> (S, B, C)
        for layer in self.layers:
            x = layer(x, applied, **bits_for(layer, num_bits))
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        return {"encoder_out": [x], "encoder_padding_mask": [] if applied is None else [mask]}

    def reorder_encoder_out(self, encoder_out: Any, new_order: Tensor) -> dict[str, list[Tensor]]:
        """`encoder_out` with its sentences in the order of `new_order`."""
        return {
            "encoder_out": [x.index_select(1, new_order) for x in encoder_out["encoder_out"]],
            "encoder_padding_mask": [x.index_select(0, new_order) for x in encoder_out["encoder_padding_mask"]],
        }

    def max_positions(self) -> int:
        """The longest source in tokens."""
        if self.embed_positions is None:
            return self.max_source_positions  # type: ignore[no-any-return]
        return min(self.max_source_positions, self.embed_positions.max_positions)
