"""Configs of models. A named size is a subclass that changes the dimensions.

>>> RobertaLargeConfig().encoder_layers, RobertaLargeConfig(dropout=0.3).encoder_embed_dim
(24, 1024)
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.constants import ACTIVATION_FN_CHOICES
from fairseq.dataclass.ranges import above, at_least, between


@dataclass
class RobertaConfig(FairseqDataclass):
    """`model=roberta` (also `roberta_base`): 12 layers, 768 wide."""

    # size
    encoder_layers: int = option(12, "layers", within=at_least(0))
    encoder_embed_dim: int = option(768, "width of the residual stream", within=at_least(1))
    encoder_ffn_embed_dim: int = option(3072, "width inside the feed-forward blocks", within=at_least(1))
    encoder_attention_heads: int = option(
        12, "attention heads per layer; they divide encoder_embed_dim", within=at_least(1)
    )
    max_positions: Optional[int] = option(
        None, "longest input; default: the task's max_positions or tokens_per_sample, else 512", within=at_least(1)
    )

    # form
    activation_fn: ACTIVATION_FN_CHOICES = option(ACTIVATION_FN_CHOICES.gelu, "activation of the feed-forward blocks")
    lm_head_activation_fn: Optional[ACTIVATION_FN_CHOICES] = option(
        None, "activation inside the language model head; default: activation_fn"
    )
    pooler_activation_fn: ACTIVATION_FN_CHOICES = option(
        ACTIVATION_FN_CHOICES.tanh, "activation inside classification heads"
    )
    encoder_normalize_before: bool = option(False, "layer norm in front of each block (pre-norm) instead of behind it")
    layernorm_embedding: bool = option(True, "layer norm on the embeddings", const=True)
    layer_norm_eps: float = option(1e-5, "added to the variance in layer norms (BERT: 1e-12)", within=above(0))
    encoder_learned_pos: bool = option(True, "learn position embeddings instead of using sinusoids", const=True)
    no_token_positional_embeddings: bool = option(False, "no position embeddings at all")
    no_scale_embedding: bool = option(True, "do not multiply embeddings by sqrt(encoder_embed_dim)", const=True)
    untie_weights_roberta: bool = option(False, "the output layer has separate weights, not the embedding's")
    adaptive_input: bool = option(False, "adaptive input embeddings (not supported)")
    max_source_positions: Optional[int] = option("${.max_positions}", "follows max_positions", within=at_least(1))

    # regularisation
    dropout: float = option(0.1, "dropout on embeddings and behind each block", within=between(0, 1))
    attention_dropout: float = option(0.1, "dropout on attention probabilities", within=between(0, 1))
    activation_dropout: float = option(
        0.0, "dropout behind the activation of the feed-forward blocks", within=between(0, 1)
    )
    pooler_dropout: float = option(0.0, "dropout inside classification heads", within=between(0, 1))
    encoder_layerdrop: float = option(0.0, "probability of leaving out a layer while training", within=between(0, 1))
    encoder_layers_to_keep: Optional[str] = option(None, "numbers of the layers to keep when loading, as 0,2,4")
    spectral_norm_classification_head: bool = option(False, "spectral norm on classification heads")
    mha_reg_scale_factor: float = option(
        0.0, "weight of the regulariser that prepares attention heads for pruning", within=at_least(0)
    )
    ffn_reg_scale_factor: float = option(
        0.0, "weight of the regulariser that prepares feed-forward units for pruning", within=at_least(0)
    )
    mha_heads_to_keep: int = option(
        -1, "prune each layer to this many attention heads (-1: all)", within=at_least(1, also=-1)
    )
    ffn_blocks_to_remove: int = option(
        -1, "prune this many units from each feed-forward block (-1: none)", within=at_least(0, also=-1)
    )

    # fairseq's quantization noise
    quant_noise_pq: float = option(
        0.0, "share of weight blocks that product-quantization noise drops", within=between(0, 1)
    )
    quant_noise_pq_block_size: int = option(8, "size of those blocks", within=at_least(1))
    quant_noise_scalar: float = option(
        0.0, "share of weights that scalar-quantization noise touches", within=between(0, 1)
    )

    # loading, memory
    load_checkpoint_heads: bool = option(False, "load classification heads that the model does not have yet")
    checkpoint_activations: bool = option(False, "recompute activations in backward to save memory")
    offload_activations: bool = option(False, "with checkpoint_activations: keep them in CPU memory")
    min_params_to_wrap: int = option(
        int(1e8), "fully_sharded: wrap layers with at least this many parameters", within=at_least(0)
    )


@dataclass
class RobertaPrenormConfig(RobertaConfig):
    """`model=roberta_prenorm`: base size with the layer norm in front of each block."""

    encoder_normalize_before: bool = option(True, "layer norm in front of each block (pre-norm) instead of behind it")
    layernorm_embedding: bool = option(False, "layer norm on the embeddings")


@dataclass
class RobertaEncDecConfig(RobertaConfig):
    """`model=roberta_enc_dec`: RoBERTa as the encoder, a decoder of the same size behind it."""

    pretrained_mlm_checkpoint: Optional[str] = option(None, "checkpoint of a RoBERTa to begin with", path="in")
    pretrained_decoder: bool = option(False, "begin the decoder, too, with that RoBERTa's layers")
    hack_layernorm_embedding: bool = option(False, "no layer norm on embeddings, for old checkpoints without it")
    share_decoder_input_output_embed: bool = option(False, "the output layer uses the decoder embedding's weights")
    share_all_embeddings: bool = option(False, "encoder, decoder and output layer share one embedding")


@dataclass
class RobertaLargeConfig(RobertaConfig):
    """`model=roberta_large`: 24 layers, 1024 wide."""

    encoder_layers: int = option(24, "layers", within=at_least(0))
    encoder_embed_dim: int = option(1024, "width of the residual stream", within=at_least(1))
    encoder_ffn_embed_dim: int = option(4096, "width inside the feed-forward blocks", within=at_least(1))
    encoder_attention_heads: int = option(
        16, "attention heads per layer; they divide encoder_embed_dim", within=at_least(1)
    )


@dataclass
class XLMConfig(RobertaConfig):
    """`model=xlm`: 16 layers, 1280 wide."""

    encoder_layers: int = option(16, "layers", within=at_least(0))
    encoder_embed_dim: int = option(1280, "width of the residual stream", within=at_least(1))
    encoder_ffn_embed_dim: int = option(1280 * 4, "width inside the feed-forward blocks", within=at_least(1))
    encoder_attention_heads: int = option(
        16, "attention heads per layer; they divide encoder_embed_dim", within=at_least(1)
    )
