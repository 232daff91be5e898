"""`--arch nacrf_transformer`: all words at once, with a random field over neighbours (Sun et al., arXiv:1910.11555).

Train it with `--task translation_lev --criterion nat_loss --noise full_mask`.
"""

from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.refining_models import NACRFTransformerConfig
from fairseq.models.config import fill_defaults
from fairseq.models.nat.nonautoregressive_transformer import NATransformerModel
from fairseq.models.registries import register_model
from fairseq.modules.dynamic_crf_layer import DynamicCRF


@register_model("nacrf_transformer", dataclass=NACRFTransformerConfig)
class NACRFTransformerModel(NATransformerModel):
    """Words that fit their neighbours."""

    def __init__(self, args: Any, encoder: Any, decoder: Any):
        super().__init__(args, encoder, decoder)
        self.crf_layer = DynamicCRF(
            num_embedding=len(self.tgt_dict), low_rank=args.crf_lowrank_approx, beam_size=args.crf_beam_approx
        )

    @property
    def allow_ensemble(self) -> bool:
        return False

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        tgt_tokens: Tensor,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What is predicted for words and length, and the field's loss, see `FairseqNATModel`."""
        found = super().forward(src_tokens, src_lengths, prev_output_tokens, tgt_tokens, num_bits, **kwargs)
        words, length = found["word_ins"], found["length"]
        words["factor"] = self.args.word_ins_loss_factor
        loss = -self.crf_layer(words["out"], words["tgt"], words["mask"])
        loss = (loss / words["mask"].type_as(loss).sum(-1)).mean()
        return {"word_ins": words, "word_crf": {"loss": loss}, "length": length}

    def forward_decoder(  # type: ignore[override]
        self, decoder_out: Any, encoder_out: Any, decoding_format: Optional[str] = None, **kwargs: Any
    ) -> Any:
        places = decoder_out.output_tokens.ne(self.pad)
        out = self.decoder(normalize=False, prev_output_tokens=decoder_out.output_tokens, encoder_out=encoder_out)
        scores, words = self.crf_layer.forward_decoder(out, places)
        return self.replaced(decoder_out, places, words, scores)


def nacrf_base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 pre-norm layers, 512 wide."""
    fill_defaults(args, NACRFTransformerConfig)
