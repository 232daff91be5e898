"""Flat configs of `model=multilingual_transformer` and its sizes: a transformer's keys and what languages share.

>>> MultilingualTransformerIwsltConfig().encoder_ffn_embed_dim, MultilingualTransformerConfig().share_encoders
(1024, False)
"""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass.base import II, option
from fairseq.dataclass.constants import EncoderLangtok
from fairseq.dataclass.ranges import at_least
from fairseq.dataclass.transformer_sizes import TransformerModelConfig


@dataclass
class MultilingualTransformerConfig(TransformerModelConfig):  # type: ignore[misc,valid-type]
    """`model=multilingual_transformer`: a transformer for each pair of languages, which may share parts."""

    share_encoder_embeddings: bool = option(False, "one embedding for all source languages")
    share_decoder_embeddings: bool = option(False, "one embedding for all target languages")
    share_encoders: bool = option(False, "one encoder for all source languages")
    share_decoders: bool = option(False, "one decoder for all target languages")
    # the task's, kept with the model: whoever translates with it has to give the same, and fairseq 0.12 reads them here
    lang_pairs: Any = option(II("task.lang_pairs"), "follows task.lang_pairs")
    left_pad_source: str = option(II("task.left_pad_source"), "follows task.left_pad_source")
    left_pad_target: str = option(II("task.left_pad_target"), "follows task.left_pad_target")
    encoder_langtok: Optional[EncoderLangtok] = option(II("task.encoder_langtok"), "follows task.encoder_langtok")
    decoder_langtok: bool = option(II("task.decoder_langtok"), "follows task.decoder_langtok")


@dataclass
class MultilingualTransformerIwsltConfig(MultilingualTransformerConfig):
    """`model=multilingual_transformer_iwslt_de_en`: 4 heads and narrower feed-forward blocks."""

    encoder_ffn_embed_dim: int = option(1024, "encoder: width inside the feed-forward blocks", within=at_least(1))
    encoder_attention_heads: int = option(4, "encoder: attention heads per layer", within=at_least(1))
    decoder_attention_heads: int = option(4, "decoder: attention heads per layer", within=at_least(1))
