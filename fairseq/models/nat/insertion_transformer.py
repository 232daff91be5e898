"""`--arch insertion_transformer`: each step inserts a word in every gap, or nothing (Stern et al., arXiv:1902.03249).

Train it with `--task translation_lev --criterion nat_loss --noise random_delete`.
"""

from typing import Any, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.dataclass.refining_models import InsertionTransformerConfig
from fairseq.models.config import fill_defaults
from fairseq.models.nat.fairseq_nat_model import _initialized, ensemble_decoder
from fairseq.models.nat.levenshtein_transformer import LevenshteinTransformerDecoder, LevenshteinTransformerModel
from fairseq.models.nat.levenshtein_utils import path
from fairseq.models.registries import register_model
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear


class NegativeDistanceScore:
    """Weights of the words of a gap, larger near its middle; tables of them are kept.

    >>> score = NegativeDistanceScore()
    >>> [round(float(score(i, 3, 1.0)), 3) for i in range(3)], score(0, 4, float("inf"))
    ([0.212, 0.576, 0.212], 0.25)
    """

    def __init__(self) -> None:
        self.scores: dict[float, np.ndarray] = {}

    def __call__(self, i: int, L: int, tau: Optional[float]) -> float:
        """Weight of word `i` of `L`, at the temperature `tau`; None or infinity: all alike."""
        if tau is None or tau == float("inf"):
            return 1 / L
        if tau not in self.scores or len(self.scores[tau]) < L:
            self.scores[tau] = self.compute_score_full(max(L, 50) + 1, tau)
        return float(self.scores[tau][L - 1, i])

    def compute_score(self, L: int, tau: float) -> np.ndarray:
        """Weights (L) by the distance to L / 2, which is half a word right of the middle."""
        return _softmax(-np.abs(L / 2 - np.arange(L)) / tau)

    def compute_score_full(self, L: int, tau: float) -> np.ndarray:
        """Weights (L - 1, L) of gaps of 1, 2, ... L - 1 words, by the distance to their middle."""
        rows = np.zeros((max(L - 1, 0), L))
        for last in range(L - 1):
            rows[last, : last + 1] = _softmax(-np.abs(last / 2 - np.arange(last + 1)) / tau)
        return rows


def _softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


neg_scorer = NegativeDistanceScore()


def _get_ins_targets(
    in_tokens: Tensor, out_tokens: Tensor, padding_idx: int, unk_idx: int, vocab_size: int, tau: Optional[float] = None
) -> Tensor:
    """Probabilities (B, S - 1, V) of the words to insert in each gap; padding where none is missing. A word that
    a gap misses twice counts once, as in fairseq."""
    _, gaps = path(in_tokens, out_tokens, padding_idx)
    targets = torch.zeros(len(gaps), in_tokens.size(1) - 1, vocab_size)
    for row, sentence in enumerate(gaps):
        for gap, words in enumerate(sentence[1:-1]):
            missing = words or [padding_idx]
            for place, word in enumerate(missing):
                targets[row, gap, word] = neg_scorer(place, len(missing), tau)
    return targets.to(in_tokens.device)


def _apply_ins_words(
    in_tokens: Tensor, in_scores: Tensor, word_ins_pred: Tensor, word_ins_scores: Tensor, padding_idx: int
) -> tuple[Tensor, Tensor]:
    """Sentences (B, S) and scores with a predicted word in each gap (B, S - 1), but for padding."""
    kept = in_tokens.ne(padding_idx)
    words = word_ins_pred.masked_fill(~kept[:, 1:], padding_idx)

    def woven(tokens: Tensor, between: Tensor) -> Tensor:
        return torch.stack([tokens, F.pad(between, (0, 1), value=padding_idx)], dim=2).flatten(1)

    tokens, scores = woven(in_tokens, words), woven(in_scores, word_ins_scores)
    here = tokens.ne(padding_idx)
    order = (~here).to(torch.uint8).sort(dim=1, stable=True).indices[:, : int(here.sum(1).max())]
    gone = ~here.gather(1, order)
    return tokens.gather(1, order).masked_fill(gone, padding_idx), scores.gather(1, order).masked_fill(gone, 0)


@register_model("insertion_transformer", dataclass=InsertionTransformerConfig)
class InsertionTransformerModel(LevenshteinTransformerModel):
    """One word per gap and step."""

    @classmethod
    def build_decoder(cls, args: Any, tgt_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return _initialized(args, InsertionTransformerDecoder(args, tgt_dict, embed_tokens))

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        tgt_tokens: Tensor,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What is predicted for the gaps, see `FairseqNATModel`."""
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **bits_for(self.encoder, num_bits), **kwargs)
        out = self.decoder.forward_word_ins(
            normalize=False, prev_output_tokens=prev_output_tokens, encoder_out=encoder_out, num_bits=num_bits
        )
        targets = _get_ins_targets(
            prev_output_tokens, tgt_tokens, self.pad, self.unk, len(self.tgt_dict), self.decoder.label_tau
        )
        mask = prev_output_tokens[:, 1:].ne(self.pad)
        return {
            "word_ins": {
                "out": out,
                "tgt": targets.to(out.dtype),
                "mask": mask,
                "ls": self.args.label_smoothing,
                "nll_loss": True,
            }
        }

    def forward_decoder(  # type: ignore[override]
        self,
        decoder_out: Any,
        encoder_out: Any,
        eos_penalty: float = 0.0,
        max_ratio: Optional[float] = None,
        **kwargs: Any,
    ) -> Any:
        tokens = decoder_out.output_tokens
        log_probs = self.decoder.forward_word_ins(normalize=True, prev_output_tokens=tokens, encoder_out=encoder_out)
        if eos_penalty > 0:
            log_probs[:, :, self.pad] -= eos_penalty
        scores, words = log_probs.max(-1)
        tokens, scores = _apply_ins_words(tokens, decoder_out.output_scores, words, scores, self.pad)
        width = int(tokens.ne(self.pad).sum(1).max())
        tokens, scores = tokens[:, :width], scores[:, :width]
        if decoder_out.history is not None:
            decoder_out.history.append(tokens.clone())
        return decoder_out._replace(output_tokens=tokens, output_scores=scores, attn=None)


class InsertionTransformerDecoder(LevenshteinTransformerDecoder):
    """A word for each gap."""

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding, no_encoder_attn: bool = False):
        super(LevenshteinTransformerDecoder, self).__init__(args, dictionary, embed_tokens, no_encoder_attn)
        self.pool_out = QLinear(self.output_embed_dim * 2, self.output_embed_dim)
        nn.init.xavier_uniform_(self.pool_out.weight)
        nn.init.zeros_(self.pool_out.bias)
        self.label_tau = getattr(args, "label_tau", None)

    @ensemble_decoder
    def forward_word_ins(  # type: ignore[override]
        self,
        normalize: bool,
        encoder_out: Any,
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> Tensor:
        """Scores (B, T - 1, V) of the word to insert in each gap."""
        features, _ = self.extract_features(prev_output_tokens, encoder_out, num_bits=num_bits)
        gaps = torch.cat([features[:, :-1], features[:, 1:]], dim=2)
        return self.scores(self.pool_out(gaps, **bits_for(self.pool_out, num_bits)), normalize, num_bits=num_bits)

    def forward_mask_ins(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("an insertion transformer has no placeholders")

    def forward_word_del(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("an insertion transformer deletes nothing")


def insertion_base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide."""
    fill_defaults(args, InsertionTransformerConfig)
