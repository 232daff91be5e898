"""Configs of `model=lstm`, `lstm_lm` (Luong et al., arXiv:1508.04025; Wiseman and Rush, arXiv:1606.02960) and their
sizes.

>>> LSTMConfig(dropout=0.3).encoder_dropout_in, LSTMLanguageModelConfig().decoder_attention
('${.dropout}', '0')
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.ranges import at_least, between
from fairseq.dataclass.sizes import sized

_CUTOFF = "where head and clusters of the adaptive softmax end; used with criterion adaptive_loss"


@dataclass
class LSTMConfig(FairseqDataclass):
    """`model=lstm`: one layer each, 512 wide."""

    dropout: float = option(0.1, "dropout between layers, and wherever nothing else is said", within=between(0, 1))
    encoder_embed_dim: int = option(512, "encoder: width of the embeddings", within=at_least(1))
    encoder_embed_path: Optional[str] = option(None, "encoder: file with embeddings to begin with", path="in")
    encoder_freeze_embed: bool = option(False, "encoder: do not train the embeddings")
    encoder_hidden_size: int = option("${.encoder_embed_dim}", "encoder: width of the states", within=at_least(1))
    encoder_layers: int = option(1, "encoder: layers, as many as the decoder's", within=at_least(1))
    encoder_bidirectional: bool = option(False, "encoder: read in both directions")
    encoder_dropout_in: float = option("${.dropout}", "encoder: dropout on embeddings", within=between(0, 1))
    encoder_dropout_out: float = option(
        "${.dropout}", "encoder: dropout behind the last layer and between layers", within=between(0, 1)
    )
    decoder_embed_dim: int = option(512, "decoder: width of the embeddings", within=at_least(1))
    decoder_embed_path: Optional[str] = option(None, "decoder: file with embeddings to begin with", path="in")
    decoder_freeze_embed: bool = option(False, "decoder: do not train the embeddings")
    decoder_hidden_size: int = option("${.decoder_embed_dim}", "decoder: width of the states", within=at_least(1))
    decoder_layers: int = option(1, "decoder: layers", within=at_least(1))
    decoder_out_embed_dim: int = option(512, "decoder: width of what the output layer sees", within=at_least(1))
    decoder_attention: str = option("1", "decoder: attention to the encoder, 1 or 0")
    decoder_dropout_in: float = option("${.dropout}", "decoder: dropout on embeddings", within=between(0, 1))
    decoder_dropout_out: float = option(
        "${.dropout}", "decoder: dropout behind layers and in front of the output", within=between(0, 1)
    )
    adaptive_softmax_cutoff: Optional[str] = option("10000,50000,200000", _CUTOFF)
    share_decoder_input_output_embed: bool = option(
        False, "the output layer uses the decoder's embedding; needs decoder_out_embed_dim equal to decoder_embed_dim"
    )
    share_all_embeddings: bool = option(False, "encoder, decoder and output share one embedding and dictionary")
    criterion: Optional[str] = option(II("criterion._name"), "follows the criterion that is chosen")
    left_pad_source: bool = option(II("task.left_pad_source"), "follows the task's")
    max_source_positions: int = option(II("task.max_source_positions"), "follows the task's", within=at_least(1))
    max_target_positions: int = option(II("task.max_target_positions"), "follows the task's", within=at_least(1))


LSTMWisemanConfig = sized(
    "LSTMWisemanConfig",
    "`model=lstm_wiseman_iwslt_de_en`: one layer each, 256 wide.",
    LSTMConfig,
    encoder_embed_dim=256,
    encoder_dropout_in=0.0,
    encoder_dropout_out=0.0,
    decoder_embed_dim=256,
    decoder_out_embed_dim=256,
    decoder_dropout_in=0.0,
)
LSTMLuongConfig = sized(
    "LSTMLuongConfig",
    "`model=lstm_luong_wmt_en_de`: 4 layers each, 1000 wide.",
    LSTMConfig,
    encoder_embed_dim=1000,
    encoder_layers=4,
    encoder_dropout_out=0.0,
    decoder_embed_dim=1000,
    decoder_layers=4,
    decoder_out_embed_dim=1000,
    decoder_dropout_out=0.0,
)


@dataclass
class LSTMLanguageModelConfig(FairseqDataclass):
    """`model=lstm_lm`: one layer, 512 wide."""

    dropout: float = option(0.1, "dropout wherever nothing else is said", within=between(0, 1))
    decoder_embed_dim: int = option(512, "width of the embeddings", within=at_least(1))
    decoder_embed_path: Optional[str] = option(None, "file with embeddings to begin with", path="in")
    decoder_hidden_size: int = option("${.decoder_embed_dim}", "width of the states", within=at_least(1))
    decoder_layers: int = option(1, "layers", within=at_least(1))
    decoder_out_embed_dim: int = option(512, "width of what the output layer sees", within=at_least(1))
    decoder_attention: str = option("0", "attention to an encoder: 0, since there is none")
    decoder_dropout_in: float = option("${.dropout}", "dropout on embeddings", within=between(0, 1))
    decoder_dropout_out: float = option(
        "${.dropout}", "dropout behind layers and in front of the output", within=between(0, 1)
    )
    adaptive_softmax_cutoff: Optional[str] = option("10000,50000,200000", _CUTOFF)
    residuals: bool = option(False, "add each layer's last state to what the next layer sees")
    share_decoder_input_output_embed: bool = option(
        False, "the output layer uses the embedding; needs decoder_out_embed_dim equal to decoder_embed_dim"
    )
    criterion: Optional[str] = option(II("criterion._name"), "follows the criterion that is chosen")
    tokens_per_sample: int = option(II("task.tokens_per_sample"), "follows task.tokens_per_sample", within=at_least(1))
    max_target_positions: Optional[int] = option(
        II("task.max_target_positions"), "longest input in tokens; default: tokens_per_sample", within=at_least(1)
    )
