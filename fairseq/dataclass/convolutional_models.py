"""Configs of `model=fconv`, `fconv_lm` (Gehring et al., arXiv:1705.03122; Dauphin et al., arXiv:1612.08083) and their
sizes.

Layers are written as a Python list of (width, kernel size) or (width, kernel size, layers back that the residual comes
from; 0 for none), with `+` and `*`.

>>> FConvConfig().encoder_layers, FConvLanguageModelConfig().decoder_attention
('[(512, 3)] * 20', 'False')
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.ranges import at_least, between
from fairseq.dataclass.sizes import sized

_LAYERS = "layers, as [(width, kernel size), ...]"
_ATTENTION = "attention to the encoder: True, False, or one of them for each layer as [True, False, ...]"
_EN_DE = "[(512, 3)] * 9 + [(1024, 3)] * 4 + [(2048, 1)] * 2"
_EN_FR = "[(512, 3)] * 6 + [(768, 3)] * 4 + [(1024, 3)] * 3 + [(2048, 1)] * 1 + [(4096, 1)] * 1"


@dataclass
class FConvConfig(FairseqDataclass):
    """`model=fconv`: 20 + 20 layers, 512 wide."""

    dropout: float = option(
        0.1, "dropout on embeddings, in front of convolutions and of the output", within=between(0, 1)
    )
    encoder_embed_dim: int = option(512, "encoder: width of the embeddings", within=at_least(1))
    encoder_embed_path: Optional[str] = option(None, "encoder: file with embeddings to begin with", path="in")
    encoder_layers: str = option("[(512, 3)] * 20", f"encoder: {_LAYERS}")
    decoder_embed_dim: int = option(512, "decoder: width of the embeddings", within=at_least(1))
    decoder_embed_path: Optional[str] = option(None, "decoder: file with embeddings to begin with", path="in")
    decoder_layers: str = option("[(512, 3)] * 20", f"decoder: {_LAYERS}")
    decoder_out_embed_dim: int = option(256, "decoder: width of what the output layer sees", within=at_least(1))
    decoder_attention: str = option("True", f"decoder: {_ATTENTION}")
    share_input_output_embed: bool = option(
        False, "the output layer uses the decoder's embedding; needs decoder_out_embed_dim equal to decoder_embed_dim"
    )
    max_source_positions: int = option(II("task.max_source_positions"), "follows the task's", within=at_least(1))
    max_target_positions: int = option(II("task.max_target_positions"), "follows the task's", within=at_least(1))


FConvIwsltConfig = sized(
    "FConvIwsltConfig",
    "`model=fconv_iwslt_de_en`: 4 + 3 layers, 256 wide.",
    FConvConfig,
    encoder_embed_dim=256,
    encoder_layers="[(256, 3)] * 4",
    decoder_embed_dim=256,
    decoder_layers="[(256, 3)] * 3",
)
FConvEnRoConfig = sized(
    "FConvEnRoConfig",
    "`model=fconv_wmt_en_ro`: 20 + 20 layers, 512 wide up to the output.",
    FConvConfig,
    decoder_out_embed_dim=512,
)
FConvEnDeConfig = sized(
    "FConvEnDeConfig",
    "`model=fconv_wmt_en_de`: 15 + 15 layers, 512 to 2048 wide.",
    FConvConfig,
    encoder_embed_dim=768,
    encoder_layers=_EN_DE,
    decoder_embed_dim=768,
    decoder_layers=_EN_DE,
    decoder_out_embed_dim=512,
)
FConvEnFrConfig = sized(
    "FConvEnFrConfig",
    "`model=fconv_wmt_en_fr`: 15 + 15 layers, 512 to 4096 wide.",
    FConvEnDeConfig,
    encoder_layers=_EN_FR,
    decoder_layers=_EN_FR,
)


@dataclass
class FConvLanguageModelConfig(FairseqDataclass):
    """`model=fconv_lm`: 13 layers, 1268 wide."""

    dropout: float = option(
        0.1, "dropout on embeddings, in front of convolutions and of the output", within=between(0, 1)
    )
    decoder_embed_dim: int = option(128, "width of the embeddings", within=at_least(1))
    decoder_layers: str = option("[(1268, 4)] * 13", _LAYERS)
    decoder_out_embed_dim: Optional[int] = option(
        None, "without effect: the width is decoder_embed_dim's", within=at_least(1)
    )
    decoder_attention: str = option("False", "attention to an encoder: False, since there is none")
    adaptive_softmax_cutoff: Optional[str] = option(
        None, "where head and clusters of the adaptive softmax end; used with criterion adaptive_loss"
    )
    adaptive_softmax_dropout: float = option(0.0, "dropout in the adaptive softmax", within=between(0, 1))
    criterion: Optional[str] = option(II("criterion._name"), "follows the criterion that is chosen")
    tokens_per_sample: int = option(II("task.tokens_per_sample"), "follows task.tokens_per_sample", within=at_least(1))
    max_target_positions: Optional[int] = option(
        II("task.max_target_positions"), "longest input in tokens; default: tokens_per_sample", within=at_least(1)
    )


FConvWikiText103Config = sized(
    "FConvWikiText103Config",
    "`model=fconv_lm_dauphin_wikitext103`: 14 layers of Dauphin et al.",
    FConvLanguageModelConfig,
    decoder_embed_dim=280,
    decoder_layers=(
        "[(850, 6)] * 3 + [(850, 1)] * 1 + [(850, 5)] * 4 + [(850, 1)] * 1 + [(850, 4)] * 3 + [(1024, 4)] * 1"
        " + [(2048, 4)] * 1"
    ),
    adaptive_softmax_cutoff="10000,20000,200000",
)
FConvGbwConfig = sized(
    "FConvGbwConfig",
    "`model=fconv_lm_dauphin_gbw`: bottleneck layers of Dauphin et al.",
    FConvLanguageModelConfig,
    decoder_layers=(
        "[(512, 5)] + [(128, 1, 0), (128, 5, 0), (512, 1, 3)] * 3 + [(512, 1, 0), (512, 5, 0), (1024, 1, 3)] * 3"
        " + [(1024, 1, 0), (1024, 5, 0), (2048, 1, 3)] * 6 + [(1024, 1, 0), (1024, 5, 0), (4096, 1, 3)]"
    ),
    adaptive_softmax_cutoff="10000,50000,200000",
)
