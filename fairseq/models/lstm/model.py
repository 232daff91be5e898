"""`--arch lstm` and its sizes: recurrent sequence to sequence (Luong et al., arXiv:1508.04025)."""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.dataclass.recurrent_models import LSTMConfig
from fairseq.errors import ConfigError
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_model import FairseqEncoderDecoderModel
from fairseq.models.language_model_settings import given, softmax_cutoff
from fairseq.models.lstm.decoder import LSTMDecoder
from fairseq.models.lstm.encoder import MAX_POSITIONS, LSTMEncoder
from fairseq.models.lstm.layers import Embedding
from fairseq.models.registries import register_model, register_sizes
from fairseq.models.transformer.embedding import read_embeddings
from fairseq.quantization.bits import bits_for

_SWITCH = {"0": False, "False": False, "1": True, "True": True}


@register_model("lstm", dataclass=LSTMConfig)
class LSTMModel(FairseqEncoderDecoderModel):
    """Recurrent encoder and decoder."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "LSTMModel":
        """A model for `task.source_dictionary` and `task.target_dictionary`."""
        base_architecture(args)
        if args.encoder_layers != args.decoder_layers:
            raise ConfigError(
                f"model.encoder_layers ({args.encoder_layers}) and decoder_layers ({args.decoder_layers})"
                " must be equal: each layer goes on from the state of one"
            )
        source, target = task.source_dictionary, task.target_dictionary
        source_table = embedding(source, args.encoder_embed_dim, args.encoder_embed_path)
        if args.share_all_embeddings:
            _check_sharing(args, source, target)
            target_table: Optional[nn.Embedding] = source_table
            with writable(args):
                args.share_decoder_input_output_embed = True
        else:  # the decoder makes its own where no file has vectors
            path = args.decoder_embed_path
            target_table = embedding(target, args.decoder_embed_dim, path) if path else None
        left_pad = given(args, "left_pad_source")
        encoder = LSTMEncoder(
            source,
            embed_dim=args.encoder_embed_dim,
            hidden_size=args.encoder_hidden_size,
            num_layers=args.encoder_layers,
            dropout_in=args.encoder_dropout_in,
            dropout_out=args.encoder_dropout_out,
            bidirectional=args.encoder_bidirectional,
            left_pad=True if left_pad is None else bool(left_pad),
            pretrained_embed=source_table,
            max_source_positions=given(args, "max_source_positions") or MAX_POSITIONS,
        )
        decoder = LSTMDecoder(
            target,
            embed_dim=args.decoder_embed_dim,
            hidden_size=args.decoder_hidden_size,
            out_embed_dim=args.decoder_out_embed_dim,
            num_layers=args.decoder_layers,
            dropout_in=args.decoder_dropout_in,
            dropout_out=args.decoder_dropout_out,
            attention=switch(args.decoder_attention),
            encoder_output_units=encoder.output_units,
            pretrained_embed=target_table,
            share_input_output_embed=args.share_decoder_input_output_embed,
            adaptive_softmax_cutoff=softmax_cutoff(args),
            max_target_positions=given(args, "max_target_positions") or MAX_POSITIONS,
        )
        for freeze, part in ((args.encoder_freeze_embed, encoder), (args.decoder_freeze_embed, decoder)):
            if freeze:
                part.embed_tokens.weight.requires_grad_(False)
        return cls(encoder, decoder)

    def forward(  # type: ignore[override]  # the arguments that encoder and decoder have, in place of any
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        incremental_state: Optional[Any] = None,
        num_bits: Optional[int] = None,
    ) -> Any:
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **bits_for(self.encoder, num_bits))
        return self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            incremental_state=incremental_state,
            **bits_for(self.decoder, num_bits),
        )


def embedding(dictionary: Any, width: int, path: Optional[str]) -> nn.Embedding:
    """A table for `dictionary`, with vectors of the file `path` where there is one."""
    table = Embedding(len(dictionary), width, dictionary.pad())
    if path:
        read_embeddings(path, dictionary, table)
    return table


def switch(text: Any) -> bool:
    """`decoder_attention` as a bool."""
    if str(text) not in _SWITCH:
        raise ConfigError(f"model.decoder_attention must be 1 or 0, not {text!r}")
    return _SWITCH[str(text)]


def _check_sharing(args: Any, source: Any, target: Any) -> None:
    """Sharing embeddings needs one dictionary, one width and one file."""
    if source != target:
        raise ConfigError(
            "model.share_all_embeddings needs a joined dictionary (fairseq-preprocess --joined-dictionary)"
        )
    if args.decoder_embed_path and args.decoder_embed_path != args.encoder_embed_path:
        raise ConfigError("model.share_all_embeddings cannot be used with a decoder_embed_path of its own")
    widths = args.encoder_embed_dim, args.decoder_embed_dim, args.decoder_out_embed_dim
    if len(set(widths)) > 1:
        raise ConfigError(
            f"model.share_all_embeddings needs equal widths; encoder_embed_dim, decoder_embed_dim and"
            f" decoder_out_embed_dim are {widths}"
        )


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: one layer each, 512 wide."""
    fill_defaults(args, LSTMConfig)


register_sizes("lstm")
