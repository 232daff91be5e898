"""The encoder-decoder transformer (Vaswani et al., arXiv:1706.03762).

scores = decoder(prev_output_tokens, encoder(src_tokens))
"""

import logging
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.errors import ConfigError
from fairseq.models.fairseq_model import BaseFairseqModel, FairseqEncoderDecoderModel
from fairseq.models.transformer.embedding import Embedding, read_embeddings
from fairseq.models.transformer.published import published_models
from fairseq.models.transformer.transformer_decoder import TransformerDecoderBase
from fairseq.models.transformer.transformer_encoder import TransformerEncoderBase
from fairseq.quantization.bits import bits_for

logger = logging.getLogger(__name__)


class TransformerModelBase(FairseqEncoderDecoderModel):
    """A transformer built from a TransformerConfig."""

    def __init__(self, cfg: TransformerConfig, encoder: TransformerEncoderBase, decoder: TransformerDecoderBase):
        super().__init__(encoder, decoder)
        self.cfg = cfg

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        return published_models()

    @classmethod
    def build_model(cls, cfg: TransformerConfig, task: Any) -> BaseFairseqModel:
        """A model for `task.source_dictionary` and `task.target_dictionary`."""
        for stack in (cfg.encoder, cfg.decoder):
            if stack.layers_to_keep:
                stack.layers = len(stack.layers_to_keep)
        source, target = task.source_dictionary, task.target_dictionary
        _check_sharing(cfg, source, target)
        source_table = cls.build_embedding(cfg, source, cfg.encoder.embed_dim, cfg.encoder.embed_path)
        if cfg.share_all_embeddings or cfg.merge_src_tgt_embed:
            target_table = source_table
            cfg.share_decoder_input_output_embed = True
        else:
            target_table = cls.build_embedding(cfg, target, cfg.decoder.embed_dim, cfg.decoder.embed_path)
        cfg.checkpoint_activations = cfg.checkpoint_activations or cfg.offload_activations
        encoder = cls.build_encoder(cfg, source, source_table)
        return cls(cfg, encoder, cls.build_decoder(cfg, target, target_table))

    @classmethod
    def build_embedding(
        cls, cfg: TransformerConfig, dictionary: Any, embed_dim: int, path: Optional[str] = None
    ) -> Any:
        table = Embedding(len(dictionary), embed_dim, dictionary.pad())
        if path:
            found = read_embeddings(path, dictionary, table)
            logger.info("embeddings of %d of %d symbols read from %s", found, len(dictionary), path)
        return table

    @classmethod
    def build_encoder(cls, cfg: TransformerConfig, src_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return TransformerEncoderBase(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg: TransformerConfig, tgt_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return TransformerDecoderBase(cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention)

    def forward(  # type: ignore[override]  # the arguments that encoder and decoder have, in place of any
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        features_only: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Scores (B, T, V) and extras for a source (B, S) and a shifted target (B, T); see the decoder's `forward`."""
        encoder_out = self.encoder(
            src_tokens,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **bits_for(self.encoder, num_bits),
        )
        return self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            features_only=features_only,
            alignment_layer=alignment_layer,
            alignment_heads=alignment_heads,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **bits_for(self.decoder, num_bits),
        )


def _check_sharing(cfg: TransformerConfig, source: Any, target: Any) -> None:
    """Sharing embeddings needs one dictionary, one width and one file."""
    for option in ("share_all_embeddings", "merge_src_tgt_embed"):
        if not getattr(cfg, option):
            continue
        if source != target:
            raise ConfigError(f"model.{option} needs a joined dictionary (fairseq-preprocess --joined-dictionary)")
        if cfg.encoder.embed_dim != cfg.decoder.embed_dim:
            raise ConfigError(
                f"model.{option} needs equal widths: encoder_embed_dim is {cfg.encoder.embed_dim},"
                f" decoder_embed_dim {cfg.decoder.embed_dim}"
            )
        if cfg.decoder.embed_path and cfg.decoder.embed_path != cfg.encoder.embed_path:
            raise ConfigError(f"model.{option} cannot be used with a decoder_embed_path of its own")
