"""`--arch nonautoregressive_transformer`: all words of a sentence at once (Gu et al., arXiv:1711.02281).

The length comes from the mean of the encoder's features, words from placeholders, or from copies of the source's
embeddings; there is no fertility. Train it with `--task translation_lev --criterion nat_loss --noise full_mask`.
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.dataclass.refining_models import NonautoregressiveTransformerConfig
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
from fairseq.models.registries import register_model, register_sizes
from fairseq.quantization.bits import bits_for

NUM_LENGTHS = 256  # classes of the length, or of twice the offset to the source's


def _mean_pooling(enc_feats: Tensor, src_masks: Optional[Tensor]) -> Tensor:
    """Mean (B, C) of features (T, B, C), without those whose `src_masks` (B, T) is true."""
    if src_masks is None:
        return enc_feats.mean(0)
    kept = (~src_masks).transpose(0, 1).to(enc_feats)  # (T, B)
    return ((enc_feats / kept.sum(0)[None, :, None]) * kept.unsqueeze(-1)).sum(0)


def _argmax(x: Tensor, dim: int) -> Tensor:
    """1 where `x` is largest along `dim`, several times for a tie."""
    return (x == x.max(dim, keepdim=True)[0]).type_as(x)


def _uniform_assignment(src_lens: Tensor, trg_lens: Tensor) -> Tensor:
    """For each position of the longest target, (B, T), that of the source when both are stretched alike."""
    positions = torch.arange(int(trg_lens.max()), device=trg_lens.device).float()
    steps = (src_lens.float() - 1) / (trg_lens.float() - 1)
    return (steps[:, None] * positions).round().long()


@register_model("nonautoregressive_transformer", dataclass=NonautoregressiveTransformerConfig)
class NATransformerModel(FairseqNATModel):
    """Words and length in one step."""

    @property
    def allow_length_beam(self) -> bool:
        return True

    @classmethod
    def build_decoder(cls, args: Any, tgt_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return _initialized(args, NATransformerDecoder(args, tgt_dict, embed_tokens))

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        tgt_tokens: Tensor,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What is predicted for words and length, see `FairseqNATModel`."""
        check_shapes(prev_output_tokens, tgt_tokens)
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **bits_for(self.encoder, num_bits), **kwargs)
        word_ins = self.words(prev_output_tokens, tgt_tokens, self.word_mask(prev_output_tokens, tgt_tokens))
        word_ins["out"] = self.decoder(
            normalize=False, prev_output_tokens=prev_output_tokens, encoder_out=encoder_out, num_bits=num_bits
        )
        return {"word_ins": word_ins, "length": self.length_loss(encoder_out, tgt_tokens, num_bits)}

    def word_mask(self, prev_output_tokens: Tensor, tgt_tokens: Tensor) -> Tensor:
        """The words (B, T) whose prediction counts."""
        return tgt_tokens.ne(self.pad)

    def words(self, prev_output_tokens: Tensor, tgt_tokens: Tensor, mask: Tensor) -> dict[str, Any]:
        """The entry of the words, without what is predicted."""
        return {"tgt": tgt_tokens, "mask": mask, "ls": self.args.label_smoothing, "nll_loss": True}

    def length_loss(self, encoder_out: Any, tgt_tokens: Tensor, num_bits: Optional[int] = None) -> dict[str, Any]:
        """The entry of the length."""
        out = self.decoder.forward_length(normalize=False, encoder_out=encoder_out, num_bits=num_bits)
        target = self.decoder.forward_length_prediction(out, encoder_out, tgt_tokens)
        return {"out": out, "tgt": target, "factor": self.decoder.length_loss_factor}

    def forward_decoder(  # type: ignore[override]
        self, decoder_out: Any, encoder_out: Any, decoding_format: Optional[str] = None, **kwargs: Any
    ) -> Any:
        scores, words = self.decoder(
            normalize=True,
            prev_output_tokens=decoder_out.output_tokens,
            encoder_out=encoder_out,
            step=decoder_out.step,
        ).max(-1)
        return self.replaced(decoder_out, decoder_out.output_tokens.ne(self.pad), words, scores)

    def replaced(self, decoder_out: Any, places: Tensor, words: Tensor, scores: Tensor) -> Any:
        """`decoder_out` with predicted words in some places, noted in its history."""
        tokens = torch.where(places, words, decoder_out.output_tokens)
        scores = torch.where(places, scores.type_as(decoder_out.output_scores), decoder_out.output_scores)
        if decoder_out.history is not None:
            decoder_out.history.append(tokens.clone())
        return decoder_out._replace(output_tokens=tokens, output_scores=scores, attn=None)

    def initialize_output_tokens(self, encoder_out: Any, src_tokens: Tensor) -> DecoderOut:
        """Placeholders as many as the likeliest length."""
        length = self.decoder.forward_length(normalize=True, encoder_out=encoder_out)
        return self.placeholders(
            self.decoder.forward_length_prediction(length, encoder_out=encoder_out), encoder_out["encoder_out"][0]
        )

    def regenerate_length_beam(self, decoder_out: DecoderOut, beam_size: int) -> DecoderOut:
        """`beam_size` lengths of each sentence in succession, around the length that it has."""
        lengths = decoder_out.output_tokens.ne(self.pad).sum(1)
        offsets = torch.arange(beam_size, device=lengths.device) - beam_size // 2
        tried = (lengths[:, None] + offsets).flatten()
        return self.placeholders(tried, decoder_out.output_scores)

    def placeholders(self, lengths: Tensor, like: Tensor) -> DecoderOut:
        """Sentences of these `lengths` (B), at least two, of placeholders between begin and end."""
        lengths = lengths.clamp(min=2)
        positions = torch.arange(int(lengths.max()), device=lengths.device)
        tokens = torch.full((len(lengths), len(positions)), self.pad, device=lengths.device)
        tokens = tokens.masked_fill(positions < lengths[:, None], self.unk)
        tokens[:, 0] = self.bos
        tokens.scatter_(1, lengths[:, None] - 1, self.eos)
        scores = torch.zeros(tokens.shape, dtype=like.dtype, device=tokens.device)
        return DecoderOut(tokens, scores, attn=None, step=0, max_step=0, history=None)


def check_shapes(prev_output_tokens: Tensor, tgt_tokens: Tensor) -> None:
    """Raise ConfigError where the noise has taken words away."""
    if prev_output_tokens.shape != tgt_tokens.shape:
        raise ConfigError(
            "task.noise=random_delete takes words away, and this model predicts one word for each that it is given: "
            "choose full_mask, random_mask or no_noise"
        )


class NATransformerDecoder(FairseqNATDecoder):
    """Words of all positions, and the length."""

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding, no_encoder_attn: bool = False):
        super().__init__(args, dictionary, embed_tokens, no_encoder_attn)
        self.encoder_embed_dim = args.encoder_embed_dim
        self.sg_length_pred = getattr(args, "sg_length_pred", False)
        self.pred_length_offset = getattr(args, "pred_length_offset", False)
        self.length_loss_factor = getattr(args, "length_loss_factor", 0.1)
        self.src_embedding_copy = getattr(args, "src_embedding_copy", False)
        self.embed_length = classifier(NUM_LENGTHS, self.encoder_embed_dim)

    @ensemble_decoder
    def forward(  # type: ignore[override]
        self,
        normalize: bool,
        encoder_out: Any,
        prev_output_tokens: Tensor,
        step: int = 0,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> Tensor:
        """Logits, or log probabilities, (B, T, V) of the words."""
        features, _ = self.extract_features(
            prev_output_tokens,
            encoder_out=encoder_out,
            embedding_copy=step == 0 and self.src_embedding_copy,
            num_bits=num_bits,
        )
        return self.scores(features, normalize, num_bits=num_bits)

    @ensemble_decoder
    def forward_length(self, normalize: bool, encoder_out: Any, num_bits: Optional[int] = None) -> Tensor:
        """Logits, or log probabilities, (B, 256) of the length."""
        masks = encoder_out["encoder_padding_mask"]
        features = _mean_pooling(encoder_out["encoder_out"][0], masks[0] if masks else None)
        if self.sg_length_pred:
            features = features.detach()
        return self.scores(features, normalize, self.embed_length, num_bits)

    def extract_features(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any = None,
        early_exit: Optional[int] = None,
        embedding_copy: bool = False,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, T, C) and extras; the input is a copy of the source's embeddings with `embedding_copy`."""
        states = None
        if embedding_copy:
            states = self.forward_copying_source(
                encoder_out["encoder_embedding"][0],
                encoder_out["encoder_padding_mask"][0],
                prev_output_tokens.ne(self.padding_idx),
            )
        x, padding_mask = self.forward_embedding(prev_output_tokens, states)
        return self.run_layers(x, padding_mask, encoder_out, early_exit=early_exit, num_bits=num_bits)

    def forward_embedding(  # type: ignore[override]
        self, prev_output_tokens: Tensor, states: Optional[Tensor] = None
    ) -> tuple[Tensor, Tensor]:
        """The first layer's input (B, T, C), from `states` (B, T, C) where given, and where it is padding."""
        if states is None:
            return super().forward_embedding(prev_output_tokens), prev_output_tokens.eq(self.padding_idx)
        x = states if self.project_in_dim is None else self.project_in_dim(states)
        if self.embed_positions is not None:
            x = x + self.embed_positions(prev_output_tokens)
        return self.dropout_module(x), prev_output_tokens.eq(self.padding_idx)

    def forward_copying_source(self, src_embeds: Tensor, src_masks: Tensor, tgt_masks: Tensor) -> Tensor:
        """Embeddings (B, S, C) of the source, stretched to the target's length, (B, T, C).

        Args:
            src_masks: (B, S), true at padding.
            tgt_masks: (B, T), true where there is a word.
        """
        assigned = _uniform_assignment((~src_masks).sum(1), tgt_masks.sum(1)).masked_fill(~tgt_masks, 0)
        return src_embeds.gather(1, assigned.unsqueeze(-1).expand(*assigned.size(), src_embeds.size(-1)))

    def forward_length_prediction(
        self, length_out: Tensor, encoder_out: Any, tgt_tokens: Optional[Tensor] = None
    ) -> Tensor:
        """The class (B) of the length of `tgt_tokens`; without them, the likeliest length."""
        masks = encoder_out["encoder_padding_mask"]
        states = encoder_out["encoder_out"][0]  # (S, B, C)
        lengths = (~masks[0]).sum(1) if masks else torch.full((states.size(1),), states.size(0), device=states.device)
        half = NUM_LENGTHS // 2
        if tgt_tokens is not None:
            target = tgt_tokens.ne(self.padding_idx).sum(1).long()
            if self.pred_length_offset:
                target = target - lengths + half
            return target.clamp(min=0, max=NUM_LENGTHS - 1)
        predicted = length_out.max(-1)[1]
        return predicted - half + lengths if self.pred_length_offset else predicted


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide."""
    fill_defaults(args, NonautoregressiveTransformerConfig)


nonautoregressive_transformer_wmt_en_de = base_architecture
register_sizes("nonautoregressive_transformer")
