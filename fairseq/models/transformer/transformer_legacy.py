"""`--arch transformer` and its sizes: the model built from flat arguments.

A plugin may derive from TransformerModel and override `build_encoder`, `build_decoder` or `build_embedding`.
"""

from typing import Any, Optional

from torch import nn

from fairseq.dataclass import transformer_sizes as configs
from fairseq.dataclass.flags import gen_parser_from_dataclass
from fairseq.dataclass.transformer import TransformerConfig
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_model import BaseFairseqModel
from fairseq.models.registries import register_model, register_model_architecture
from fairseq.models.transformer.transformer_base import TransformerModelBase


@register_model("transformer", dataclass=configs.TransformerModelConfig)
class TransformerModel(TransformerModelBase):
    """A transformer built from flat arguments (`encoder_embed_dim`, ...)."""

    def __init__(self, args: Any, encoder: Any, decoder: Any):
        super().__init__(TransformerConfig.from_namespace(args), encoder, decoder)
        self.args = args

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """The transformer's flags, for subclasses without a config dataclass too."""
        gen_parser_from_dataclass(parser, configs.TransformerModelConfig(), delete_default=True)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> BaseFairseqModel:
        """What `args` leaves open is filled in, in place."""
        base_architecture(args)
        cfg = TransformerConfig.from_namespace(args)
        model = super().build_model(cfg, task)
        model.args = args
        with writable(args):  # the checkpoint's config has to describe the model as it was built
            args.encoder_layers, args.decoder_layers = cfg.encoder.layers, cfg.decoder.layers
            args.share_decoder_input_output_embed = cfg.share_decoder_input_output_embed
        return model

    @classmethod
    def build_embedding(cls, args: Any, dictionary: Any, embed_dim: int, path: Optional[str] = None) -> nn.Embedding:
        return super().build_embedding(TransformerConfig.from_namespace(args), dictionary, embed_dim, path)

    @classmethod
    def build_encoder(cls, args: Any, src_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return super().build_encoder(TransformerConfig.from_namespace(args), src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, args: Any, tgt_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return super().build_decoder(TransformerConfig.from_namespace(args), tgt_dict, embed_tokens)


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide."""
    fill_defaults(args, configs.TransformerModelConfig)


@register_model_architecture("transformer", "transformer_tiny")
def tiny_architecture(args: Any) -> None:
    """2 layers, 64 wide."""
    fill_defaults(args, configs.TransformerTinyConfig)


@register_model_architecture("transformer", "transformer_iwslt_de_en")
def transformer_iwslt_de_en(args: Any) -> None:
    """Narrower feed-forward blocks and 4 heads, for small data."""
    fill_defaults(args, configs.TransformerIwsltConfig)


@register_model_architecture("transformer", "transformer_wmt_en_de")
def transformer_wmt_en_de(args: Any) -> None:
    """The paper's base model."""
    base_architecture(args)


@register_model_architecture("transformer", "transformer_vaswani_wmt_en_de_big")
def transformer_vaswani_wmt_en_de_big(args: Any) -> None:
    """The paper's big model."""
    fill_defaults(args, configs.TransformerBigConfig)


@register_model_architecture("transformer", "transformer_vaswani_wmt_en_fr_big")
def transformer_vaswani_wmt_en_fr_big(args: Any) -> None:
    """The big model with less dropout."""
    fill_defaults(args, configs.TransformerBigEnFrConfig)


@register_model_architecture("transformer", "transformer_wmt_en_de_big")
def transformer_wmt_en_de_big(args: Any) -> None:
    """The big model with dropout on attention."""
    fill_defaults(args, configs.TransformerBigAttentionDropoutConfig)


@register_model_architecture("transformer", "transformer_wmt_en_de_big_t2t")
def transformer_wmt_en_de_big_t2t(args: Any) -> None:
    """The big model with layer norms in front of the blocks."""
    fill_defaults(args, configs.TransformerBigPrenormConfig)
