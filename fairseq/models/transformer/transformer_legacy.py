"""`--arch transformer` and its sizes: the model built from flat arguments.

A plugin may derive from TransformerModel and override `build_encoder`, `build_decoder` or `build_embedding`.
"""

from typing import Any, Optional

from torch import nn

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.flags import gen_parser_from_dataclass
from fairseq.dataclass.transformer import TransformerConfig
from fairseq.dataclass.transformer_sizes import TransformerModelConfig
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_model import BaseFairseqModel
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.models.transformer.transformer_base import TransformerModelBase


@register_model("transformer", dataclass=TransformerModelConfig)
class TransformerModel(TransformerModelBase):
    """A transformer built from flat arguments (`encoder_embed_dim`, ...)."""

    def __init__(self, args: Any, encoder: Any, decoder: Any):
        super().__init__(TransformerConfig.from_namespace(args), encoder, decoder)
        self.args = args

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """The transformer's flags, for subclasses without a config dataclass too."""
        gen_parser_from_dataclass(parser, TransformerModelConfig(), delete_default=True)

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
    fill_defaults(args, TransformerModelConfig)


register_sizes("transformer")


def __getattr__(name: str) -> Any:
    # fairseq's plugins import the function of a size by its name from here; only the tiny one has another name
    size = "transformer_tiny" if name == "tiny_architecture" else name
    if size in SIZES["transformer"]:
        return ARCH_CONFIG_REGISTRY[size]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
