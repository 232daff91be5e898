"""A BERT-style encoder under its older constructor, with segment embeddings. Plugins for masked language models use it.

x_0 = dropout(LN(scale * embed(tokens) + positions + segments)),   x_i = layer_i(x_{i-1}),   sentence = x_N of <s>
"""

from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.modules.attention.masks import padding_mask
from fairseq.modules.bert_init import init_bert_params
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.layer_drop import LayerDropModuleList
from fairseq.modules.layer_norm import LayerNorm
from fairseq.modules.positional_embedding import PositionalEmbedding
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.transformer_sentence_encoder_layer import TransformerSentenceEncoderLayer
from fairseq.quantization.bits import bits_for

__all__ = ["TransformerSentenceEncoder", "init_bert_params"]


class TransformerSentenceEncoder(nn.Module):
    """Encoder over tokens, positions and segments.

    Args:
        padding_idx, vocab_size: of the token embedding.
        max_seq_len: positions.
        num_segments: rows of the segment embedding; 0 for none.
        offset_positions_by_padding: positions start at padding_idx + 1 instead of 0.
        encoder_normalize_before: layer norm on the embeddings (the layers are post-norm).
        apply_bert_init: weights ~ N(0, 0.02^2).
        freeze_embeddings, n_trans_layers_to_freeze: what is not trained.
        traceable: return the layers' outputs as one tensor.
    """

    def __init__(
        self,
        padding_idx: int,
        vocab_size: int,
        num_encoder_layers: int = 6,
        embedding_dim: int = 768,
        ffn_embedding_dim: int = 3072,
        num_attention_heads: int = 8,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.1,
        layerdrop: float = 0.0,
        max_seq_len: int = 256,
        num_segments: int = 2,
        use_position_embeddings: bool = True,
        offset_positions_by_padding: bool = True,
        encoder_normalize_before: bool = False,
        apply_bert_init: bool = False,
        activation_fn: str = "relu",
        learned_pos_embedding: bool = True,
        embed_scale: Optional[float] = None,
        freeze_embeddings: bool = False,
        n_trans_layers_to_freeze: int = 0,
        export: bool = False,
        traceable: bool = False,
        q_noise: float = 0.0,
        qn_block_size: int = 8,
    ) -> None:
        super().__init__()
        self.padding_idx = padding_idx
        self.embedding_dim = embedding_dim
        self.embed_scale = embed_scale
        self.traceable = traceable
        self.dropout_module = FairseqDropout(dropout, module_name=type(self).__name__)
        self.embed_tokens = self.build_embedding(vocab_size, embedding_dim, padding_idx)
        self.quant_noise = (
            quant_noise(nn.Linear(embedding_dim, embedding_dim, bias=False), q_noise, qn_block_size)
            if q_noise > 0
            else None
        )
        self.segment_embeddings = nn.Embedding(num_segments, embedding_dim) if num_segments > 0 else None
        offset = padding_idx if offset_positions_by_padding else None
        self.embed_positions = (
            PositionalEmbedding(max_seq_len, embedding_dim, offset, learned=learned_pos_embedding)
            if use_position_embeddings
            else None
        )
        self.emb_layer_norm = LayerNorm(embedding_dim) if encoder_normalize_before else None
        layers = [
            self.build_transformer_sentence_encoder_layer(
                embedding_dim=embedding_dim,
                ffn_embedding_dim=ffn_embedding_dim,
                num_attention_heads=num_attention_heads,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation_dropout=activation_dropout,
                activation_fn=activation_fn,
                export=export,
                q_noise=q_noise,
                qn_block_size=qn_block_size,
            )
            for _ in range(num_encoder_layers)
        ]
        self.layers = LayerDropModuleList(layerdrop, layers) if layerdrop > 0 else nn.ModuleList(layers)
        if apply_bert_init:
            self.apply(init_bert_params)
        if freeze_embeddings:
            _freeze([self.embed_tokens, self.segment_embeddings, self.embed_positions, self.emb_layer_norm])
        _freeze(self.layers[number] for number in range(n_trans_layers_to_freeze))

    def build_embedding(self, vocab_size: int, embedding_dim: int, padding_idx: int) -> nn.Embedding:
        return nn.Embedding(vocab_size, embedding_dim, padding_idx)

    def build_transformer_sentence_encoder_layer(self, **options: Any) -> nn.Module:
        return TransformerSentenceEncoderLayer(**options)

    def forward(
        self,
        tokens: Tensor,
        segment_labels: Optional[Tensor] = None,
        last_state_only: bool = False,
        positions: Optional[Tensor] = None,
        token_embeddings: Optional[Tensor] = None,
        attn_mask: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Any, Tensor]:
        """States [(T, B, C), ...] - the last only, or those of every layer - and the sentences' features (B, C)."""
        _, applied_mask = padding_mask(tokens, self.padding_idx)
        x = self.embed_tokens(tokens) if token_embeddings is None else token_embeddings
        if self.embed_scale is not None:
            x = x * self.embed_scale
        if self.embed_positions is not None:
            x = x + self.embed_positions(tokens, positions=positions)
        if self.segment_embeddings is not None and segment_labels is not None:
            x = x + self.segment_embeddings(segment_labels)
        if self.quant_noise is not None:
            x = self.quant_noise(x)
        if self.emb_layer_norm is not None:
            x = self.emb_layer_norm(x)
        x = self.dropout_module(x)
        if applied_mask is not None:
            x = x.masked_fill(applied_mask.unsqueeze(-1), 0)
        x = x.transpose(0, 1).contiguous()  # (B, T, C) -> (T, B, C)
        states = [x]
        for layer in self.layers:
            masks = {"self_attn_mask": attn_mask, "self_attn_padding_mask": applied_mask}
            x, _ = layer(x, **masks, **bits_for(layer, num_bits))
            states.append(x)
        states = states[-1:] if last_state_only else states
        return (torch.stack(states) if self.traceable else states), x[0]


def _freeze(modules: Iterable[Optional[nn.Module]]) -> None:
    for module in modules:
        if module is not None:
            module.requires_grad_(False)
