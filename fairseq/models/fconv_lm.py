"""`--task language_modeling --arch fconv_lm` and its sizes: gated convolutions (Dauphin et al., arXiv:1612.08083)."""

import logging
from collections.abc import Callable
from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.convolutional_models import FConvLanguageModelConfig
from fairseq.errors import ConfigError
from fairseq.models.config import fill_defaults
from fairseq.models.fairseq_model import FairseqLanguageModel
from fairseq.models.fconv.decoder import FConvDecoder
from fairseq.models.fconv.layers import layer_specs
from fairseq.models.fconv.model import attention_of
from fairseq.models.language_model_settings import longest_input, softmax_cutoff
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.quantization.bits import bits_for

logger = logging.getLogger(__name__)


@register_model("fconv_lm", dataclass=FConvLanguageModelConfig)
class FConvLanguageModel(FairseqLanguageModel):
    """A convolutional decoder by itself, without positions."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "FConvLanguageModel":
        """A model for `task.target_dictionary`."""
        base_lm_architecture(args)
        attention = attention_of(args.decoder_attention)
        if attention is True or (isinstance(attention, list) and any(attention)):
            raise ConfigError(f"model.decoder_attention: {args.decoder_attention}, and a language model has no encoder")
        if args.decoder_out_embed_dim is not None:
            logger.warning(
                "model.decoder_out_embed_dim has no effect: the output layer's input is decoder_embed_dim wide"
            )
        decoder = FConvDecoder(
            dictionary=task.target_dictionary,
            embed_dim=args.decoder_embed_dim,
            convolutions=layer_specs(args.decoder_layers, "decoder_layers"),
            out_embed_dim=args.decoder_embed_dim,
            attention=attention,
            dropout=args.dropout,
            max_positions=longest_input(args),
            share_embed=False,
            positional_embeddings=False,
            adaptive_softmax_cutoff=softmax_cutoff(args),
            adaptive_softmax_dropout=args.adaptive_softmax_dropout,
        )
        return cls(decoder)

    def forward(self, src_tokens: Tensor, num_bits: Optional[int] = None, **kwargs: Any) -> Any:
        """Scores (B, T, V) for the token after each of `src_tokens` (B, T)."""
        return self.decoder(src_tokens, **kwargs, **bits_for(self.decoder, num_bits))


def base_lm_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 13 layers, 1268 wide."""
    fill_defaults(args, FConvLanguageModelConfig)


register_sizes("fconv_lm")


def __getattr__(name: str) -> Callable[[Any], None]:
    if name in SIZES["fconv_lm"]:
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
