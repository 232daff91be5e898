"""Configs of `model=transformer_lm` and its sizes.

`transformer_lm` itself has fairseq's defaults, in which the embeddings are 512 wide whatever `decoder_embed_dim` is;
in the named sizes they follow it, and layer norms stand in front.

>>> TransformerLanguageModelConfig().decoder_input_dim, LMBigConfig().decoder_input_dim, LMBigConfig().decoder_layers
(512, '${.decoder_embed_dim}', 12)
"""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.constants import ACTIVATION_FN_CHOICES
from fairseq.dataclass.ranges import above, at_least, between
from fairseq.dataclass.sizes import sized

CHARACTER_FILTERS = "[(1, 64), (2, 128), (3, 192), (4, 256), (5, 256), (6, 256), (7, 256)]"


@dataclass
class TransformerLanguageModelConfig(FairseqDataclass):
    """`model=transformer_lm`: 6 layers, 512 wide."""

    # size
    decoder_layers: int = option(6, "layers", within=at_least(0))
    decoder_embed_dim: int = option(512, "width of the residual stream", within=at_least(1))
    decoder_ffn_embed_dim: int = option(2048, "width inside the feed-forward blocks", within=at_least(1))
    decoder_attention_heads: int = option(
        8, "attention heads per layer; they divide decoder_embed_dim", within=at_least(1)
    )
    decoder_input_dim: int = option(512, "width of the embeddings; another one is projected", within=at_least(1))
    decoder_output_dim: int = option(512, "width of the output features; another one is projected", within=at_least(1))

    # form
    activation_fn: ACTIVATION_FN_CHOICES = option(ACTIVATION_FN_CHOICES.relu, "activation of the feed-forward blocks")
    decoder_normalize_before: bool = option(False, "layer norm in front of each block (pre-norm) instead of behind it")
    no_decoder_final_norm: bool = option(False, "pre-norm without the layer norm behind the last layer")
    decoder_learned_pos: bool = option(False, "learn position embeddings instead of using sinusoids")
    no_token_positional_embeddings: bool = option(False, "no position embeddings at all")
    layernorm_embedding: bool = option(False, "layer norm on the embeddings")
    no_scale_embedding: bool = option(False, "do not multiply embeddings by sqrt(decoder_embed_dim)")
    share_decoder_input_output_embed: bool = option(False, "the output layer uses the embedding's weights")
    scale_fc: Optional[bool] = option(False, "NormFormer: layer norm inside the feed-forward blocks")
    scale_attn: Optional[bool] = option(False, "NormFormer: layer norm behind attention")
    scale_heads: Optional[bool] = option(False, "NormFormer: a learned factor for each attention head")
    scale_resids: Optional[bool] = option(
        False, "NormFormer: learned factors on the residual of the feed-forward blocks"
    )

    # adaptive embeddings and outputs
    adaptive_input: bool = option(False, "adaptive input embeddings: the rarer a word, the narrower its vector")
    adaptive_input_cutoff: Optional[str] = option(None, "where its bands end, as 20000,60000")
    adaptive_input_factor: float = option(4.0, "how much narrower each next band is", within=above(0))
    adaptive_softmax_cutoff: Optional[str] = option(
        None, "adaptive softmax instead of an output layer: where head and clusters end; needs criterion adaptive_loss"
    )
    adaptive_softmax_dropout: float = option(0.0, "dropout in the adaptive softmax", within=between(0, 1))
    adaptive_softmax_factor: float = option(
        4.0, "how much narrower each tail of the adaptive softmax is", within=above(0)
    )
    tie_adaptive_weights: bool = option(False, "the adaptive softmax uses the adaptive input's word vectors")
    tie_adaptive_proj: bool = option(False, "the adaptive softmax uses the adaptive input's projections")
    character_embeddings: bool = option(False, "word vectors from characters, by convolutions")
    character_filters: str = option(CHARACTER_FILTERS, "width and number of each kind of filter")
    character_embedding_dim: int = option(4, "width of a character's vector", within=at_least(1))
    char_embedder_highway_layers: int = option(2, "highway layers behind the filters", within=at_least(0))

    # regularisation
    dropout: float = option(0.1, "dropout on embeddings and behind each block", within=between(0, 1))
    attention_dropout: float = option(0.0, "dropout on attention probabilities", within=between(0, 1))
    activation_dropout: float = option(
        0.0, "dropout behind the activation of the feed-forward blocks", within=between(0, 1)
    )
    relu_dropout: float = option(0.0, "older name of activation_dropout, used where that is 0", within=between(0, 1))
    decoder_layerdrop: float = option(0.0, "probability of leaving out a layer while training", within=between(0, 1))
    decoder_layers_to_keep: Optional[str] = option(None, "numbers of the layers to keep when loading, as 0,2,4")

    # fairseq's quantization noise
    quant_noise_pq: float = option(
        0.0, "share of weight blocks that product-quantization noise drops", within=between(0, 1)
    )
    quant_noise_pq_block_size: int = option(8, "size of those blocks", within=at_least(1))
    quant_noise_scalar: float = option(
        0.0, "share of weights that scalar-quantization noise touches", within=between(0, 1)
    )

    # memory, other parts
    checkpoint_activations: bool = option(False, "recompute activations in backward to save memory")
    offload_activations: bool = option(False, "with checkpoint_activations: keep them in CPU memory")
    min_params_to_wrap: int = option(
        int(1e8), "fully_sharded: wrap layers with at least this many parameters", within=at_least(0)
    )
    base_layers: Optional[int] = option(0, "BASE layers: experts spread over GPUs (not supported)", within=at_least(0))
    base_sublayers: Optional[int] = option(1, "sublayers of each expert (not supported)", within=at_least(0))
    base_shuffle: Optional[int] = option(1, "shuffle tokens between experts (not supported)", within=at_least(0))
    decoder_xformers_att_config: Optional[str] = option(None, "attention of the xformers library (not supported)")

    # of the task
    add_bos_token: bool = option(II("task.add_bos_token"), "follows task.add_bos_token")
    tokens_per_sample: int = option(II("task.tokens_per_sample"), "follows task.tokens_per_sample", within=at_least(1))
    max_target_positions: Optional[int] = option(
        II("task.max_target_positions"), "longest input in tokens; default: tokens_per_sample", within=at_least(1)
    )
    tpu: bool = option(II("common.tpu"), "follows common.tpu")


LMBaseConfig: Any = sized(
    "LMBaseConfig",
    "What the named sizes start from: 6 layers, 512 wide, pre-norm.",
    TransformerLanguageModelConfig,
    decoder_normalize_before=True,
    decoder_input_dim="${.decoder_embed_dim}",
    decoder_output_dim="${.decoder_embed_dim}",
    base_shuffle=0,
)
LMBigConfig = sized(
    "LMBigConfig",
    "`model=transformer_lm_big`: 12 layers, 1024 wide.",
    LMBaseConfig,
    decoder_layers=12,
    decoder_embed_dim=1024,
    decoder_ffn_embed_dim=4096,
    decoder_attention_heads=16,
)
LMWiki103Config = sized(
    "LMWiki103Config",
    "`model=transformer_lm_wiki103` (Baevski and Auli, arXiv:1809.10853): 16 layers, adaptive input and softmax, tied.",
    LMBigConfig,
    decoder_layers=16,
    decoder_attention_heads=8,
    dropout=0.3,
    attention_dropout=0.1,
    activation_dropout=0.1,
    adaptive_input=True,
    tie_adaptive_weights=True,
    tie_adaptive_proj=True,
    adaptive_input_cutoff="20000,60000",
    adaptive_softmax_cutoff="20000,60000",
    adaptive_softmax_dropout=0.2,
    no_decoder_final_norm=True,
)
LMGbwConfig = sized(
    "LMGbwConfig",
    "`model=transformer_lm_gbw`: 12 layers, 512 wide, feed-forward blocks of 4096.",
    LMBigConfig,
    decoder_embed_dim=512,
    attention_dropout=0.1,
    no_decoder_final_norm=True,
)


def _gpt(name: str, doc: str, layers: int, width: int, inner: int, heads: int) -> Any:
    """A size of GPT or GPT-2."""
    return sized(
        name,
        f"`model={doc}`: {layers} layers, {width} wide.",
        LMBaseConfig,
        decoder_layers=layers,
        decoder_embed_dim=width,
        decoder_ffn_embed_dim=inner,
        decoder_attention_heads=heads,
        dropout=0.1,
        attention_dropout=0.1,
        activation_fn=ACTIVATION_FN_CHOICES.gelu,
    )


LMGptConfig = _gpt("LMGptConfig", "transformer_lm_gpt", 12, 768, 3072, 12)
LMGpt2SmallConfig = _gpt("LMGpt2SmallConfig", "transformer_lm_gpt2_small", 24, 1024, 4096, 16)
LMGpt2TinyConfig = _gpt("LMGpt2TinyConfig", "transformer_lm_gpt2_tiny", 2, 64, 64, 1)
LMGpt2MediumConfig = _gpt("LMGpt2MediumConfig", "transformer_lm_gpt2_medium", 36, 1280, 5120, 20)
LMGpt2BigConfig = _gpt("LMGpt2BigConfig", "transformer_lm_gpt2_big", 48, 1600, 6400, 25)
LMGpt2BigWideConfig = _gpt("LMGpt2BigWideConfig", "transformer_lm_gpt2_big_wide", 24, 2048, 8192, 32)
LMGpt2BiggerConfig = _gpt("LMGpt2BiggerConfig", "transformer_lm_gpt2_bigger", 48, 2048, 8192, 32)


def _gpt3(name: str, size: str, layers: int, width: int, heads: int) -> Any:
    """A size of GPT-3 (Brown et al., arXiv:2005.14165)."""
    return sized(
        name,
        f"`model=transformer_lm_gpt3_{size}`: {layers} layers, {width} wide, learned positions, no dropout.",
        LMBaseConfig,
        decoder_layers=layers,
        decoder_embed_dim=width,
        decoder_ffn_embed_dim=4 * width,
        decoder_attention_heads=heads,
        decoder_learned_pos=True,
        dropout=0.0,
        attention_dropout=0.0,
        activation_fn=ACTIVATION_FN_CHOICES.gelu,
        share_decoder_input_output_embed=True,
    )


LMGpt3SmallConfig = _gpt3("LMGpt3SmallConfig", "small", 12, 768, 12)
LMGpt3MediumConfig = _gpt3("LMGpt3MediumConfig", "medium", 24, 1024, 16)
LMGpt3LargeConfig = _gpt3("LMGpt3LargeConfig", "large", 24, 1536, 16)
LMGpt3XlConfig = _gpt3("LMGpt3XlConfig", "xl", 24, 2048, 32)
LMGpt3B2Config = _gpt3("LMGpt3B2Config", "2_7", 32, 2560, 32)
LMGpt3B6Config = _gpt3("LMGpt3B6Config", "6_7", 32, 4096, 32)
LMGpt3B13Config = _gpt3("LMGpt3B13Config", "13", 40, 5120, 40)
LMGpt3B175Config = _gpt3("LMGpt3B175Config", "175", 96, 12288, 96)
