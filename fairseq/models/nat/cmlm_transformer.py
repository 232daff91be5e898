"""`--arch cmlm_transformer`: masked words are predicted, the least certain ones masked again (Mask-Predict,
Ghazvininejad et al., arXiv:1904.09324).

Of N steps, step n masks the share 1 - n / N of the words again. Train it with `--task translation_lev --criterion
nat_loss --noise random_mask`.
"""

from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.refining_models import CMLMTransformerConfig
from fairseq.models.config import fill_defaults
from fairseq.models.nat.nonautoregressive_transformer import NATransformerModel
from fairseq.models.registries import register_model, register_sizes


def _skeptical_unmasking(output_scores: Tensor, output_masks: Tensor, p: float) -> Tensor:
    """The share `p` of the words of `output_masks` (B, T) that have the lowest scores; begin and end do not count."""
    ranks = output_scores.sort(-1)[1].sort(-1)[1]
    boundary = ((output_masks.sum(1, keepdim=True).type_as(output_scores) - 2) * p).long()
    return ranks < boundary


@register_model("cmlm_transformer", dataclass=CMLMTransformerConfig)
class CMLMNATransformerModel(NATransformerModel):
    """Words are predicted from those that are not masked."""

    def word_mask(self, prev_output_tokens: Tensor, tgt_tokens: Tensor) -> Tensor:
        return prev_output_tokens.eq(self.unk)

    def forward_decoder(  # type: ignore[override]
        self, decoder_out: Any, encoder_out: Any, decoding_format: Optional[str] = None, **kwargs: Any
    ) -> Any:
        step, max_step, history = decoder_out.step, decoder_out.max_step, decoder_out.history
        masked = decoder_out.output_tokens.eq(self.unk)
        scores, words = self.decoder(
            normalize=True, prev_output_tokens=decoder_out.output_tokens, encoder_out=encoder_out
        ).max(-1)
        decoder_out = self.replaced(decoder_out, masked, words, scores)
        if step + 1 >= max_step:
            return decoder_out
        tokens, scores = decoder_out.output_tokens, decoder_out.output_scores
        again = _skeptical_unmasking(scores, tokens.ne(self.pad), 1 - (step + 1) / max_step)
        tokens, scores = tokens.masked_fill(again, self.unk), scores.masked_fill(again, 0.0)
        if history is not None:
            history.append(tokens.clone())
        return decoder_out._replace(output_tokens=tokens, output_scores=scores)


def cmlm_base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide, one table of embeddings."""
    fill_defaults(args, CMLMTransformerConfig)


cmlm_wmt_en_de = cmlm_base_architecture
register_sizes("cmlm_transformer")
