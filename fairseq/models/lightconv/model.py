"""`--arch lightconv` and its sizes: lightweight and dynamic convolutions (Wu et al., arXiv:1901.10430)."""

from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.lightconv_models import LightConvConfig
from fairseq.errors import ConfigError
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_model import FairseqEncoderDecoderModel
from fairseq.models.language_model_settings import given
from fairseq.models.lightconv.decoder import LightConvDecoder
from fairseq.models.lightconv.encoder import LightConvEncoder
from fairseq.models.registries import register_model, register_sizes
from fairseq.models.transformer.embedding import Embedding, read_embeddings
from fairseq.quantization.bits import bits_for

_ADDRESS = "https://dl.fbaipublicfiles.com/fairseq/models/dynamicconv"
_PUBLISHED = {  # name, of light convolutions -> file, of either
    "no_glu.iwslt14.de-en": "iwslt14.de-en.{}.tar.gz",
    "no_glu.wmt16.en-de": "wmt16.en-de.joined-dict.{}.tar.gz",
    "glu.wmt16.en-de": "wmt16.en-de.joined-dict.{}-glu.tar.gz",
    "glu.wmt17.en-de": "wmt16.en-de.joined-dict.{}-glu.tar.gz",
    "glu.wmt14.en-fr": "wmt14.en-fr.joined-dict.{}-glu.tar.gz",
    "glu.wmt17.zh-en": "wmt17.zh-en.{}-glu.tar.gz",
}


@register_model("lightconv", dataclass=LightConvConfig)
class LightConvModel(FairseqEncoderDecoderModel):
    """Encoder and decoder of lightweight or dynamic convolutions."""

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        return {
            f"{kind}.{name}": {"path": f"{_ADDRESS}/{file.format(kind)}", "tokenizer": "moses", "bpe": "subword_nmt"}
            for kind in ("lightconv", "dynamicconv")
            for name, file in _PUBLISHED.items()
        }

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "LightConvModel":
        """A model for `task.source_dictionary` and `task.target_dictionary`."""
        base_architecture(args)
        source, target = task.source_dictionary, task.target_dictionary
        with writable(args):
            for name in ("max_source_positions", "max_target_positions"):
                if given(args, name) is None:
                    setattr(args, name, 1024)
        source_table = _embedding(source, args.encoder_embed_dim, args.encoder_embed_path)
        if args.share_all_embeddings:
            _check_sharing(args, source, target)
            target_table = source_table
            with writable(args):
                args.share_decoder_input_output_embed = True
        else:
            target_table = _embedding(target, args.decoder_embed_dim, args.decoder_embed_path)
        return cls(LightConvEncoder(args, source, source_table), LightConvDecoder(args, target, target_table))

    def forward(  # type: ignore[override]  # the arguments that encoder and decoder have, in place of any
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
    ) -> Any:
        encoder_out = self.encoder(src_tokens, src_lengths, **bits_for(self.encoder, num_bits))
        return self.decoder(prev_output_tokens, encoder_out=encoder_out, **bits_for(self.decoder, num_bits))


def _embedding(dictionary: Any, width: int, path: Optional[str]) -> Any:
    table = Embedding(len(dictionary), width, dictionary.pad())
    if path:
        read_embeddings(path, dictionary, table)
    return table


def _check_sharing(args: Any, source: Any, target: Any) -> None:
    """Sharing embeddings needs one dictionary, one width and one file."""
    if source != target:
        raise ConfigError(
            "model.share_all_embeddings needs a joined dictionary (fairseq-preprocess --joined-dictionary)"
        )
    if args.encoder_embed_dim != args.decoder_embed_dim:
        raise ConfigError(
            f"model.share_all_embeddings needs equal widths: encoder_embed_dim is {args.encoder_embed_dim},"
            f" decoder_embed_dim {args.decoder_embed_dim}"
        )
    if args.decoder_embed_path and args.decoder_embed_path != args.encoder_embed_path:
        raise ConfigError("model.share_all_embeddings cannot be used with a decoder_embed_path of its own")


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 7 + 6 layers, 512 wide."""
    fill_defaults(args, LightConvConfig)


register_sizes("lightconv")
