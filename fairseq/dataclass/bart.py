"""Configs of `model=bart` and its sizes: the encoder-decoder transformer with learned positions and heads.

>>> BartBaseConfig().encoder_layers, BartLargeConfig().encoder_embed_dim, MBartBaseConfig().no_scale_embedding
(6, 1024, False)
"""

from dataclasses import dataclass
from typing import Any

from fairseq.dataclass.base import option
from fairseq.dataclass.constants import ACTIVATION_FN_CHOICES
from fairseq.dataclass.ranges import between
from fairseq.dataclass.transformer_sizes import TransformerModelConfig, sized


@dataclass
class _WithHeadsConfig(TransformerModelConfig):
    """A transformer and what its classification heads are made of."""

    pooler_activation_fn: ACTIVATION_FN_CHOICES = option(
        ACTIVATION_FN_CHOICES.tanh, "activation inside classification heads"
    )
    pooler_dropout: float = option(0.0, "dropout inside classification heads", within=between(0, 1))
    spectral_norm_classification_head: bool = option(False, "spectral norm on classification heads")
    load_checkpoint_heads: bool = option(False, "load classification heads that the model does not have yet")


BartLargeConfig: Any = sized(
    "BartLargeConfig",
    "`model=bart` (also `bart_large`): 12 + 12 layers, 1024 wide.",
    _WithHeadsConfig,
    encoder_embed_dim=1024,
    encoder_ffn_embed_dim=4096,
    encoder_layers=12,
    encoder_attention_heads=16,
    encoder_learned_pos=True,
    decoder_layers=12,
    decoder_attention_heads=16,
    decoder_learned_pos=True,
    share_decoder_input_output_embed=True,
    share_all_embeddings=True,
    no_scale_embedding=True,
    layernorm_embedding=True,
    activation_fn=ACTIVATION_FN_CHOICES.gelu,
)
BartBaseConfig = sized(
    "BartBaseConfig",
    "`model=bart_base`: 6 + 6 layers, 768 wide.",
    BartLargeConfig,
    encoder_embed_dim=768,
    encoder_ffn_embed_dim=3072,
    encoder_layers=6,
    encoder_attention_heads=12,
    decoder_layers=6,
    decoder_attention_heads=12,
)
MBartLargeConfig = sized(
    "MBartLargeConfig",
    "`model=mbart_large`: BART's large size, embeddings times the root of their width.",
    BartLargeConfig,
    no_scale_embedding=False,
)
MBartBaseConfig = sized(
    "MBartBaseConfig",
    "`model=mbart_base`: BART's base size, embeddings times the root of their width.",
    BartBaseConfig,
    no_scale_embedding=False,
)
MBartBaseWmt20Config = sized(
    "MBartBaseWmt20Config",
    "`model=mbart_base_wmt20`: mBART's base size without a layer norm on embeddings.",
    MBartBaseConfig,
    layernorm_embedding=False,
)
