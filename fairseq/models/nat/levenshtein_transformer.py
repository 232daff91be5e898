"""`--arch levenshtein_transformer`: each step deletes words, opens places for new ones, and fills them (Gu et al.,
arXiv:1905.11006).

Train it with `--task translation_lev --criterion nat_loss --noise random_delete`.
"""

from collections.abc import Callable
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.refining_models import LevenshteinTransformerConfig
from fairseq.errors import ConfigError
from fairseq.iterative_refinement_generator import DecoderOut
from fairseq.models.config import fill_defaults
from fairseq.models.nat.fairseq_nat_model import (
    FairseqNATDecoder,
    FairseqNATModel,
    _initialized,
    classifier,
    ensemble_decoder,
)
from fairseq.models.nat.levenshtein_utils import (
    _apply_del_words,
    _apply_ins_masks,
    _apply_ins_words,
    _fill,
    _get_del_targets,
    _get_ins_targets,
    _skip,
    _skip_encoder_out,
)
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.quantization.bits import bits_for

MAX_INSERTED = 255  # words that are inserted in a gap at once


@register_model("levenshtein_transformer", dataclass=LevenshteinTransformerConfig)
class LevenshteinTransformerModel(FairseqNATModel):
    """Deletion, placeholders and words."""

    @classmethod
    def build_decoder(cls, args: Any, tgt_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return _initialized(args, LevenshteinTransformerDecoder(args, tgt_dict, embed_tokens))

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        tgt_tokens: Tensor,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What is predicted for placeholders, words and deletion, see `FairseqNATModel`."""
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **bits_for(self.encoder, num_bits), **kwargs)
        given: dict[str, Any] = {"normalize": False, "encoder_out": encoder_out, "num_bits": num_bits}
        missing, with_places, counts = _get_ins_targets(prev_output_tokens, tgt_tokens, self.pad, self.unk)
        counts = counts.clamp(min=0, max=MAX_INSERTED)
        mask_ins_out, _ = self.decoder.forward_mask_ins(prev_output_tokens=prev_output_tokens, **given)
        word_ins_out, _ = self.decoder.forward_word_ins(prev_output_tokens=with_places, **given)
        words = torch.where(missing, self._draw(word_ins_out), tgt_tokens)
        unwanted = _get_del_targets(words, tgt_tokens, self.pad)
        word_del_out, _ = self.decoder.forward_word_del(prev_output_tokens=words, **given)
        return {
            "mask_ins": {
                "out": mask_ins_out,
                "tgt": counts,
                "mask": prev_output_tokens[:, 1:].ne(self.pad),
                "ls": 0.01,
            },
            "word_ins": {
                "out": word_ins_out,
                "tgt": tgt_tokens,
                "mask": missing,
                "ls": self.args.label_smoothing,
                "nll_loss": True,
            },
            "word_del": {"out": word_del_out, "tgt": unwanted, "mask": words.ne(self.pad)},
        }

    @torch.no_grad()
    def _draw(self, word_ins_out: Tensor) -> Tensor:
        """Words (B, T) that deletion learns from."""
        log_probs = F.log_softmax(word_ins_out, dim=-1)
        if not self.decoder.sampling_for_deletion:
            return log_probs.max(-1)[1]
        flat = log_probs.exp().view(-1, log_probs.size(-1))
        return torch.multinomial(flat, 1).view(log_probs.shape[:-1])

    def forward_decoder(  # type: ignore[override]
        self,
        decoder_out: Any,
        encoder_out: Any,
        eos_penalty: float = 0.0,
        max_ratio: Optional[float] = None,
        **kwargs: Any,
    ) -> Any:
        tokens, scores, attn = decoder_out.output_tokens, decoder_out.output_scores, decoder_out.attn
        history = decoder_out.history
        longest = self._longest(tokens, encoder_out, max_ratio)

        def note() -> None:
            if history is not None:
                history.append(tokens.clone())

        def predicted(method: Callable[..., Any], rows: Tensor) -> Any:
            part = _skip_encoder_out(self.encoder, encoder_out, rows)
            return method(normalize=True, prev_output_tokens=_skip(tokens, rows), encoder_out=part)

        rows = tokens.ne(self.pad).sum(1) > 2  # sentences of begin and end have nothing to delete
        if rows.any():
            del_scores, del_attn = predicted(self.decoder.forward_word_del, rows)
            changed = _apply_del_words(
                _skip(tokens, rows),
                _skip(scores, rows),
                del_attn,
                del_scores.max(-1)[1].bool(),
                self.pad,
                self.bos,
                self.eos,
            )
            tokens, scores, attn = self._filled((tokens, scores, attn), rows, changed)
            note()

        rows = tokens.ne(self.pad).sum(1) < longest
        if rows.any():
            mask_scores, _ = predicted(self.decoder.forward_mask_ins, rows)
            if eos_penalty > 0:
                mask_scores[:, :, 0] = mask_scores[:, :, 0] - eos_penalty
            counts = torch.min(mask_scores.max(-1)[1], longest[rows, None])
            changed_tokens, changed_scores = _apply_ins_masks(
                _skip(tokens, rows), _skip(scores, rows), counts, self.pad, self.unk, self.eos
            )
            tokens, scores, attn = self._filled((tokens, scores, attn), rows, (changed_tokens, changed_scores, None))
            note()

        rows = tokens.eq(self.unk).sum(1) > 0
        if rows.any():
            word_scores, word_attn = predicted(self.decoder.forward_word_ins, rows)
            best, words = word_scores.max(-1)
            changed_tokens, changed_scores = _apply_ins_words(
                _skip(tokens, rows), _skip(scores, rows), words, best, self.unk
            )
            changed = changed_tokens, changed_scores, word_attn
            tokens, scores, attn = self._filled((tokens, scores, attn), rows, changed)
            note()

        width = int(tokens.ne(self.pad).sum(1).max())
        return decoder_out._replace(
            output_tokens=tokens[:, :width],
            output_scores=scores[:, :width],
            attn=None if attn is None else attn[:, :width],
            history=history,
        )

    def _longest(self, tokens: Tensor, encoder_out: Any, max_ratio: Optional[float]) -> Tensor:
        """The longest output (B) of each sentence."""
        if max_ratio is None:
            return torch.full((len(tokens),), MAX_INSERTED, device=tokens.device)
        masks = encoder_out["encoder_padding_mask"]
        lengths = (~masks[0]).sum(1) if masks else torch.full_like(tokens[:, 0], encoder_out["encoder_out"][0].size(0))
        return (lengths * max_ratio).clamp(min=10).long()

    def _filled(self, all_rows: Any, rows: Tensor, changed: Any) -> tuple[Any, Any, Any]:
        """Tokens, scores and attention with those of some rows."""
        values = (self.pad, 0, 0.0)
        if all_rows[2] is None and changed[2] is not None:
            nothing = changed[2].new_zeros(len(rows), *changed[2].shape[1:])
            all_rows = (*all_rows[:2], nothing)
        tokens, scores, attn = (_fill(x, rows, y, v) for x, y, v in zip(all_rows, changed, values, strict=True))
        return tokens, scores, attn

    def initialize_output_tokens(self, encoder_out: Any, src_tokens: Tensor) -> DecoderOut:
        """Sentences of a begin and an end."""
        tokens = src_tokens.new_tensor([self.bos, self.eos]).repeat(len(src_tokens), 1)
        scores = encoder_out["encoder_out"][0].new_zeros(tokens.shape)
        return DecoderOut(tokens, scores, attn=None, step=0, max_step=0, history=None)


class LevenshteinTransformerDecoder(FairseqNATDecoder):
    """What to delete, how many words to insert, and which."""

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding, no_encoder_attn: bool = False):
        super().__init__(args, dictionary, embed_tokens, no_encoder_attn)
        self.sampling_for_deletion = getattr(args, "sampling_for_deletion", False)
        self.embed_mask_ins = classifier(MAX_INSERTED + 1, self.output_embed_dim * 2)
        self.embed_word_del = classifier(2, self.output_embed_dim)
        self.early_exit = _numbers(args.early_exit)
        self.layers_msk = self.layers_del = None
        if getattr(args, "no_share_maskpredictor", False):
            self.layers_msk = self._own_layers(args, self.early_exit[1], no_encoder_attn)
        if getattr(args, "no_share_discriminator", False):
            self.layers_del = self._own_layers(args, self.early_exit[0], no_encoder_attn)
        if getattr(args, "share_discriminator_maskpredictor", False):
            if self.layers_del is None:
                raise ConfigError(
                    "model.share_discriminator_maskpredictor shares the layers of model.no_share_discriminator;"
                    " set that as well"
                )
            self.layers_msk = self.layers_del

    def _own_layers(self, args: Any, count: int, no_encoder_attn: bool) -> nn.ModuleList:
        return nn.ModuleList([self.build_decoder_layer(args, no_encoder_attn) for _ in range(count)])

    def extract_features(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any = None,
        early_exit: Optional[int] = None,
        layers: Any = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, T, C) and extras of `early_exit` of the `layers`."""
        x = self.forward_embedding(prev_output_tokens)
        padding_mask = prev_output_tokens.eq(self.padding_idx)
        return self.run_layers(x, padding_mask, encoder_out, layers, early_exit, num_bits)

    @ensemble_decoder
    def forward_mask_ins(
        self,
        normalize: bool,
        encoder_out: Any,
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, Any]:
        """Scores (B, T - 1, 256) of how many words to insert in each gap, and attention."""
        features, extra = self.extract_features(
            prev_output_tokens, encoder_out, self.early_exit[1], self.layers_msk, num_bits=num_bits
        )
        gaps = torch.cat([features[:, :-1], features[:, 1:]], dim=2)
        return self.scores(gaps, normalize, self.embed_mask_ins, num_bits), extra["attn"]

    @ensemble_decoder
    def forward_word_ins(
        self,
        normalize: bool,
        encoder_out: Any,
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, Any]:
        """Scores (B, T, V) of words in each place, and attention."""
        features, extra = self.extract_features(
            prev_output_tokens, encoder_out, self.early_exit[2], self.layers, num_bits=num_bits
        )
        return self.scores(features, normalize, num_bits=num_bits), extra["attn"]

    @ensemble_decoder
    def forward_word_del(
        self,
        normalize: bool,
        encoder_out: Any,
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, Any]:
        """Scores (B, T, 2) of keeping and deleting each word, and attention."""
        features, extra = self.extract_features(
            prev_output_tokens, encoder_out, self.early_exit[0], self.layers_del, num_bits=num_bits
        )
        return self.scores(features, normalize, self.embed_word_del, num_bits), extra["attn"]


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in str(text).split(",")]
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ConfigError(f"model.early_exit={text}: three numbers of layers are wanted, as 6,6,6")
    return [int(part) for part in parts]


def levenshtein_base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide."""
    fill_defaults(args, LevenshteinTransformerConfig)


register_sizes("levenshtein_transformer")


def __getattr__(name: str) -> Callable[[Any], None]:
    # fairseq's function has another name than its architecture
    size = "levenshtein_transformer_wmt_en_de_big" if name == "levenshtein_transformer_wmt_en_de_big_t2t" else name
    if size in SIZES["levenshtein_transformer"]:
        return ARCH_CONFIG_REGISTRY[size]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
