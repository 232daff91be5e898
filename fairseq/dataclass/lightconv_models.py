"""Configs of `model=lightconv`, `lightconv_lm` (Wu et al., arXiv:1901.10430) and their sizes.

>>> LightConvConfig().encoder_kernel_size_list, LightConvIwsltConfig().encoder_glu
([3, 7, 15, 31, 31, 31, 31], False)
"""

from dataclasses import dataclass
from typing import List, Optional

from fairseq.dataclass.base import II, FairseqDataclass, StrEnum, option
from fairseq.dataclass.language_models import CHARACTER_FILTERS
from fairseq.dataclass.ranges import above, at_least, between
from fairseq.dataclass.sizes import sized


class CONVOLUTIONS(StrEnum):
    dynamic = "dynamic"
    lightweight = "lightweight"


_KERNELS = "kernel size of each layer, or one for all"
_CUTOFF = "adaptive softmax instead of an output layer: where head and clusters end; needs criterion adaptive_loss"


@dataclass
class LightConvConfig(FairseqDataclass):
    """`model=lightconv` (also `lightconv_wmt_en_de`): 7 + 6 layers, 512 wide."""

    # encoder
    encoder_embed_path: Optional[str] = option(None, "encoder: file with embeddings to begin with", path="in")
    encoder_embed_dim: int = option(512, "encoder: width of the residual stream", within=at_least(1))
    encoder_conv_dim: int = option("${.encoder_embed_dim}", "encoder: width of convolutions", within=at_least(1))
    encoder_ffn_embed_dim: int = option(2048, "encoder: width inside the feed-forward blocks", within=at_least(1))
    encoder_layers: int = option(7, "encoder: layers", within=at_least(0))
    encoder_attention_heads: int = option(8, "encoder: kernels per convolution", within=at_least(1))
    encoder_normalize_before: bool = option(False, "encoder: layer norm in front of each block instead of behind it")
    encoder_learned_pos: bool = option(False, "encoder: learn position embeddings instead of using sinusoids")
    encoder_kernel_size_list: List[int] = option([3, 7, 15, 31, 31, 31, 31], f"encoder: {_KERNELS}", within=at_least(1))
    encoder_glu: bool = option(True, "encoder: gate the input of convolutions", valued=True)
    encoder_conv_type: CONVOLUTIONS = option(CONVOLUTIONS.dynamic, "encoder: kind of convolution")

    # decoder
    decoder_embed_path: Optional[str] = option(None, "decoder: file with embeddings to begin with", path="in")
    decoder_embed_dim: int = option(
        "${.encoder_embed_dim}", "decoder: width of the residual stream", within=at_least(1)
    )
    decoder_conv_dim: int = option("${.decoder_embed_dim}", "decoder: width of convolutions", within=at_least(1))
    decoder_ffn_embed_dim: int = option(
        "${.encoder_ffn_embed_dim}", "decoder: width inside the feed-forward blocks", within=at_least(1)
    )
    decoder_layers: int = option(6, "decoder: layers", within=at_least(0))
    decoder_attention_heads: int = option(
        8, "decoder: kernels per convolution, and heads of attention to the encoder", within=at_least(1)
    )
    decoder_normalize_before: bool = option(False, "decoder: layer norm in front of each block instead of behind it")
    decoder_learned_pos: bool = option(False, "decoder: learn position embeddings instead of using sinusoids")
    decoder_kernel_size_list: List[int] = option([3, 7, 15, 31, 31, 31], f"decoder: {_KERNELS}", within=at_least(1))
    decoder_glu: bool = option(True, "decoder: gate the input of convolutions", valued=True)
    decoder_conv_type: CONVOLUTIONS = option(CONVOLUTIONS.dynamic, "decoder: kind of convolution")

    # both
    attention_dropout: float = option(0.0, "dropout on attention probabilities", within=between(0, 1))
    relu_dropout: float = option(0.0, "dropout behind the ReLU of the feed-forward blocks", within=between(0, 1))
    dropout: float = option(0.1, "dropout on embeddings and behind each block", within=between(0, 1))
    input_dropout: float = option(0.1, "dropout in front of convolution blocks", within=between(0, 1))
    weight_dropout: float = option("${.attention_dropout}", "dropout on the weights of kernels", within=between(0, 1))
    weight_softmax: bool = option(True, "kernels are a softmax of their weights", valued=True)
    adaptive_softmax_cutoff: Optional[str] = option(None, _CUTOFF)
    adaptive_softmax_dropout: float = option(0.0, "dropout in the adaptive softmax", within=between(0, 1))
    share_decoder_input_output_embed: bool = option(False, "the output layer uses the decoder embedding's weights")
    share_all_embeddings: bool = option(False, "encoder, decoder and output share one embedding and dictionary")
    no_token_positional_embeddings: bool = option(False, "no position embeddings at all")
    decoder_output_dim: int = option("${.decoder_embed_dim}", "width of the output features", within=at_least(1))
    decoder_input_dim: int = option("${.decoder_embed_dim}", "width of the decoder's embeddings", within=at_least(1))
    max_source_positions: int = option(II("task.max_source_positions"), "follows the task's", within=at_least(1))
    max_target_positions: int = option(II("task.max_target_positions"), "follows the task's", within=at_least(1))


LightConvIwsltConfig = sized(
    "LightConvIwsltConfig",
    "`model=lightconv_iwslt_de_en`: narrower feed-forward blocks, 4 kernels, no gates.",
    LightConvConfig,
    encoder_ffn_embed_dim=1024,
    encoder_attention_heads=4,
    decoder_embed_dim=512,
    decoder_ffn_embed_dim=1024,
    decoder_attention_heads=4,
    attention_dropout=0.1,
    weight_dropout=0.1,
    encoder_glu=False,
    decoder_glu=False,
    input_dropout=0.0,
)
LightConvBigConfig = sized(
    "LightConvBigConfig",
    "`model=lightconv_wmt_en_de_big`: 1024 wide, 16 kernels, dropout 0.3.",
    LightConvConfig,
    attention_dropout=0.1,
    encoder_embed_dim=1024,
    encoder_ffn_embed_dim=4096,
    encoder_attention_heads=16,
    decoder_attention_heads=16,
    decoder_embed_dim=1024,
    decoder_ffn_embed_dim=4096,
    dropout=0.3,
)
LightConvBigEnFrConfig = sized(
    "LightConvBigEnFrConfig", "`model=lightconv_wmt_en_fr_big`: big, dropout 0.1.", LightConvBigConfig, dropout=0.1
)
LightConvBigZhEnConfig = sized(
    "LightConvBigZhEnConfig",
    "`model=lightconv_wmt_zh_en_big`: big, dropout 0.2 everywhere.",
    LightConvBigConfig,
    dropout=0.2,
    attention_dropout=0.2,
    weight_dropout=0.2,
)


@dataclass
class LightConvLanguageModelConfig(FairseqDataclass):
    """`model=lightconv_lm`: 6 layers, 512 wide, pre-norm."""

    decoder_embed_dim: int = option(512, "width of the residual stream", within=at_least(1))
    decoder_conv_dim: int = option("${.decoder_embed_dim}", "width of convolutions", within=at_least(1))
    decoder_ffn_embed_dim: int = option(2048, "width inside the feed-forward blocks", within=at_least(1))
    decoder_layers: int = option(6, "layers", within=at_least(0))
    decoder_attention_heads: int = option(8, "kernels per convolution", within=at_least(1))
    decoder_normalize_before: bool = option(True, "always on: layer norm in front of each block", const=True)
    decoder_learned_pos: bool = option(False, "learn position embeddings instead of using sinusoids")
    decoder_kernel_size_list: List[int] = option([3, 7, 15, 31, 31, 31], _KERNELS, within=at_least(1))
    decoder_glu: bool = option(True, "gate the input of convolutions", valued=True)
    decoder_conv_type: CONVOLUTIONS = option(CONVOLUTIONS.dynamic, "kind of convolution")
    decoder_output_dim: int = option("${.decoder_embed_dim}", "width of the output features", within=at_least(1))
    decoder_input_dim: int = option("${.decoder_embed_dim}", "width of the embeddings", within=at_least(1))
    no_token_positional_embeddings: bool = option(False, "no position embeddings at all")
    share_decoder_input_output_embed: bool = option(False, "the output layer uses the embedding's weights")

    dropout: float = option(0.1, "dropout on embeddings and behind each block", within=between(0, 1))
    attention_dropout: float = option(0.0, "dropout on attention probabilities", within=between(0, 1))
    relu_dropout: float = option(0.0, "dropout behind the ReLU of the feed-forward blocks", within=between(0, 1))
    input_dropout: float = option(0.1, "dropout in front of convolution blocks", within=between(0, 1))
    weight_dropout: float = option("${.attention_dropout}", "dropout on the weights of kernels", within=between(0, 1))
    weight_softmax: bool = option(True, "kernels are a softmax of their weights", valued=True)

    adaptive_softmax_cutoff: Optional[str] = option(None, _CUTOFF)
    adaptive_softmax_dropout: float = option(0.0, "dropout in the adaptive softmax", within=between(0, 1))
    adaptive_softmax_factor: float = option(4.0, "how much narrower each tail of it is", within=above(0))
    adaptive_input: bool = option(False, "adaptive input embeddings: the rarer a word, the narrower its vector")
    adaptive_input_cutoff: Optional[str] = option(None, "where its bands end, as 20000,60000")
    adaptive_input_factor: float = option(4.0, "how much narrower each next band is", within=above(0))
    tie_adaptive_weights: bool = option(False, "the adaptive softmax uses the adaptive input's word vectors")
    tie_adaptive_proj: bool = option(False, "the adaptive softmax uses the adaptive input's projections")
    character_embeddings: bool = option(False, "word vectors from characters, by convolutions")
    character_filters: str = option(CHARACTER_FILTERS, "width and number of each kind of filter")
    character_embedding_dim: int = option(4, "width of a character's vector", within=at_least(1))
    char_embedder_highway_layers: int = option(2, "highway layers behind the filters", within=at_least(0))

    tokens_per_sample: int = option(II("task.tokens_per_sample"), "follows task.tokens_per_sample", within=at_least(1))
    max_target_positions: Optional[int] = option(
        II("task.max_target_positions"), "longest input in tokens; default: tokens_per_sample", within=at_least(1)
    )


LightConvGbwConfig = sized(
    "LightConvGbwConfig",
    "`model=lightconv_lm_gbw`: feed-forward blocks of 4096, 16 kernels.",
    LightConvLanguageModelConfig,
    decoder_ffn_embed_dim=4096,
    decoder_attention_heads=16,
)
