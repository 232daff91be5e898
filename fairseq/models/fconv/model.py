"""`--arch fconv` and its sizes: convolutional sequence to sequence (Gehring et al., arXiv:1705.03122)."""

from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.convolutional_models import FConvConfig
from fairseq.errors import ConfigError
from fairseq.models.config import fill_defaults
from fairseq.models.fairseq_model import FairseqEncoderDecoderModel
from fairseq.models.fconv.decoder import FConvDecoder
from fairseq.models.fconv.encoder import FConvEncoder
from fairseq.models.fconv.layers import layer_specs, literal
from fairseq.models.registries import register_model, register_sizes
from fairseq.quantization.bits import bits_for

_ADDRESS = "https://dl.fbaipublicfiles.com/fairseq/models"
_PUBLISHED = {  # name -> file
    "conv.wmt14.en-fr": "wmt14.v2.en-fr.fconv-py.tar.bz2",
    "conv.wmt14.en-de": "wmt14.en-de.fconv-py.tar.bz2",
    "conv.wmt17.en-de": "wmt17.v2.en-de.fconv-py.tar.bz2",
}


@register_model("fconv", dataclass=FConvConfig)
class FConvModel(FairseqEncoderDecoderModel):
    """Convolutional encoder and decoder."""

    def __init__(self, encoder: FConvEncoder, decoder: FConvDecoder):
        super().__init__(encoder, decoder)
        encoder.num_attention_layers = sum(layer is not None for layer in decoder.attention)

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        return {
            name: {"path": f"{_ADDRESS}/{file}", "tokenizer": "moses", "bpe": "subword_nmt"}
            for name, file in _PUBLISHED.items()
        }

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "FConvModel":
        """A model for `task.source_dictionary` and `task.target_dictionary`."""
        base_architecture(args)
        encoder = FConvEncoder(
            task.source_dictionary,
            embed_dim=args.encoder_embed_dim,
            embed_dict=args.encoder_embed_path,
            convolutions=layer_specs(args.encoder_layers, "encoder_layers"),
            dropout=args.dropout,
            max_positions=args.max_source_positions,
        )
        decoder = FConvDecoder(
            task.target_dictionary,
            embed_dim=args.decoder_embed_dim,
            embed_dict=args.decoder_embed_path,
            convolutions=layer_specs(args.decoder_layers, "decoder_layers"),
            out_embed_dim=args.decoder_out_embed_dim,
            attention=attention_of(args.decoder_attention),
            dropout=args.dropout,
            max_positions=args.max_target_positions,
            share_embed=args.share_input_output_embed,
        )
        return cls(encoder, decoder)

    def forward(  # type: ignore[override]  # the arguments that encoder and decoder have, in place of any
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
    ) -> Any:
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **bits_for(self.encoder, num_bits))
        return self.decoder(prev_output_tokens, encoder_out=encoder_out, **bits_for(self.decoder, num_bits))


def attention_of(text: Any) -> Any:
    """`decoder_attention` as True, False or a list of them."""
    try:
        value = literal(text)
    except (ValueError, TypeError, SyntaxError):
        value = None
    if not (isinstance(value, bool) or (isinstance(value, list) and all(isinstance(each, bool) for each in value))):
        raise ConfigError(f"model.decoder_attention: {text!r} is not True, False or a list of them")
    return value


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 20 + 20 layers, 512 wide."""
    fill_defaults(args, FConvConfig)


register_sizes("fconv")
