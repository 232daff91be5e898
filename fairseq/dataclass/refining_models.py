"""Configs of models that write whole sentences at once and refine them: `model=nonautoregressive_transformer`,
`cmlm_transformer`, `iterative_nonautoregressive_transformer`, `levenshtein_transformer`, `insertion_transformer`,
`nacrf_transformer`, and their sizes.

Each is a flat transformer config (`transformer_sizes.py`) with keys of its own.

>>> CMLMTransformerConfig().share_all_embeddings, LevenshteinTransformerConfig().early_exit
(True, '6,6,6')
"""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass.base import II, option
from fairseq.dataclass.ranges import above, at_least, between
from fairseq.dataclass.transformer_sizes import TransformerModelConfig, sized

_BIG: dict[str, Any] = {
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_embed_dim": 1024,
    "decoder_ffn_embed_dim": 4096,
    "decoder_attention_heads": 16,
    "dropout": 0.3,
}


@dataclass
class RefiningModelConfig(TransformerModelConfig):
    """What they have in common."""

    apply_bert_init: bool = option(False, "start weights as BERT does, from a normal distribution of width 0.02")
    label_smoothing: float = option(II("criterion.label_smoothing"), "follows the criterion's", within=between(0, 1))


@dataclass
class NonautoregressiveTransformerConfig(RefiningModelConfig):
    """`model=nonautoregressive_transformer` (Gu et al., arXiv:1711.02281): all words at once."""

    src_embedding_copy: bool = option(False, "the decoder's input is a copy of the source's embeddings")
    pred_length_offset: bool = option(False, "predict how much longer than its source a target is, not its length")
    sg_length_pred: bool = option(False, "keep the gradient of the predicted length out of the encoder")
    length_loss_factor: float = option(0.1, "weight of the loss of the predicted length", within=at_least(0))


CMLMTransformerConfig: Any = sized(
    "CMLMTransformerConfig",
    "`model=cmlm_transformer` (Ghazvininejad et al., arXiv:1904.09324): masked words are predicted, again and again.",
    NonautoregressiveTransformerConfig,
    share_all_embeddings=True,
)


@dataclass
class IterativeTransformerConfig(NonautoregressiveTransformerConfig):
    """`model=iterative_nonautoregressive_transformer` (Lee et al., arXiv:1802.06901): trained on its own outputs."""

    train_step: int = option(4, "refinements while training", within=at_least(1))
    dae_ratio: float = option(0.5, "share of sentences whose input is a corrupted target", within=between(0, 1))
    stochastic_approx: bool = option(False, "draw the next refinement's input instead of taking the likeliest words")


@dataclass
class LevenshteinTransformerConfig(RefiningModelConfig):
    """`model=levenshtein_transformer` (Gu et al., arXiv:1905.11006): words are deleted and inserted."""

    early_exit: str = option("6,6,6", "decoder layers that deletion, placeholders and words see, as 6,6,6")
    no_share_discriminator: bool = option(False, "deletion has decoder layers of its own")
    no_share_maskpredictor: bool = option(False, "placeholders have decoder layers of their own")
    share_discriminator_maskpredictor: bool = option(False, "placeholders use the layers that deletion has of its own")
    sampling_for_deletion: bool = option(False, "deletion learns from words that are drawn, not from the likeliest")


LevenshteinBigConfig: Any = sized(
    "LevenshteinBigConfig",
    "`model=levenshtein_transformer_vaswani_wmt_en_de_big`: 1024 wide, 16 heads, dropout 0.3.",
    LevenshteinTransformerConfig,
    **_BIG,
)
LevenshteinBigPrenormConfig: Any = sized(
    "LevenshteinBigPrenormConfig",
    "`model=levenshtein_transformer_wmt_en_de_big`: big, pre-norm, dropout 0.1 on attention and activations.",
    LevenshteinBigConfig,
    encoder_normalize_before=True,
    decoder_normalize_before=True,
    attention_dropout=0.1,
    activation_dropout=0.1,
)


@dataclass
class InsertionTransformerConfig(RefiningModelConfig):
    """`model=insertion_transformer` (Stern et al., arXiv:1902.03249): words are inserted in every gap at once."""

    label_tau: Optional[float] = option(
        None, "words in the middle of a gap count more, the more the lower this is; default: all alike", within=above(0)
    )


@dataclass
class CRFTransformerConfig(NonautoregressiveTransformerConfig):
    """`model=nacrf_transformer` (Sun et al., arXiv:1910.11555): a random field over neighbouring words."""

    crf_lowrank_approx: int = option(32, "rank of the matrix of transitions", within=at_least(1))
    crf_beam_approx: int = option(64, "words per position that the normalizer sums over", within=at_least(1))
    word_ins_loss_factor: float = option(0.5, "weight of the loss without the field", within=at_least(0))


NACRFTransformerConfig: Any = sized(
    "NACRFTransformerConfig",
    "`model=nacrf_transformer`: 6 + 6 pre-norm layers, 512 wide.",
    CRFTransformerConfig,
    encoder_normalize_before=True,
    decoder_normalize_before=True,
)
