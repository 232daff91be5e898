"""`--task language_modeling --arch lstm_lm`: a recurrent language model."""

from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.recurrent_models import LSTMLanguageModelConfig
from fairseq.errors import ConfigError
from fairseq.models.config import fill_defaults
from fairseq.models.fairseq_model import FairseqLanguageModel
from fairseq.models.language_model_settings import longest_input, softmax_cutoff
from fairseq.models.lstm.decoder import LSTMDecoder
from fairseq.models.lstm.encoder import MAX_POSITIONS as DEFAULT_MAX_TARGET_POSITIONS
from fairseq.models.lstm.model import embedding, switch
from fairseq.models.registries import register_model
from fairseq.quantization.bits import bits_for


@register_model("lstm_lm", dataclass=LSTMLanguageModelConfig)
class LSTMLanguageModel(FairseqLanguageModel):
    """A recurrent decoder by itself."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "LSTMLanguageModel":
        """A model for `task.dictionary`."""
        base_architecture(args)
        if switch(args.decoder_attention):
            raise ConfigError(f"model.decoder_attention: {args.decoder_attention}, and a language model has no encoder")
        decoder = LSTMDecoder(
            task.target_dictionary,
            embed_dim=args.decoder_embed_dim,
            hidden_size=args.decoder_hidden_size,
            out_embed_dim=args.decoder_out_embed_dim,
            num_layers=args.decoder_layers,
            dropout_in=args.decoder_dropout_in,
            dropout_out=args.decoder_dropout_out,
            attention=False,
            encoder_output_units=0,
            pretrained_embed=embedding(task.source_dictionary, args.decoder_embed_dim, args.decoder_embed_path),
            share_input_output_embed=args.share_decoder_input_output_embed,
            adaptive_softmax_cutoff=softmax_cutoff(args),
            max_target_positions=longest_input(args, int(DEFAULT_MAX_TARGET_POSITIONS)),
            residuals=args.residuals,
        )
        return cls(decoder)

    def forward(self, src_tokens: Tensor, num_bits: Optional[int] = None, **kwargs: Any) -> Any:
        """Scores (B, T, V) for the token after each of `src_tokens` (B, T)."""
        return self.decoder(src_tokens, **kwargs, **bits_for(self.decoder, num_bits))


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: one layer, 512 wide."""
    fill_defaults(args, LSTMLanguageModelConfig)
