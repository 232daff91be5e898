"""One or several models as one: they decode side by side, and their probabilities are averaged.

log p(y) = logsumexp_m log p_m(y) - log M
"""

import math
from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.incremental_decoding_utils import IncrementalState, OwnStates
from fairseq.models.fairseq_incremental_decoder import FairseqIncrementalDecoder, reorder_each, with_kept_state

NO_LIMIT = 10**9


class EnsembleModel(nn.Module):
    """`models` of one task, with the target's vocabulary in common.

    Attributes:
        single_model: the first model.
        models_size: M.
        has_incremental: all their decoders decode incrementally.
    """

    def __init__(self, models: Iterable[Any]):
        super().__init__()
        models = list(models)
        self.models_size = len(models)
        self.single_model: Any = models[0]
        self.models: Any = nn.ModuleList(models)
        self._keepers: dict[Any, list[Any]] = {}  # by decoder, what keeps states, found once for each batch
        self.has_incremental = all(_is_incremental(model) for model in models)

    def forward(self) -> None:
        """Nothing: the generator calls encoders and decoders."""

    def has_encoder(self) -> bool:
        return hasattr(self.single_model, "encoder")

    def has_incremental_states(self) -> bool:
        return self.has_incremental

    def max_decoder_positions(self) -> int:
        """The longest target that all models can decode, in tokens."""
        limits = [model.max_decoder_positions() for model in self.models if hasattr(model, "max_decoder_positions")]
        return min([*limits, NO_LIMIT])

    def set_decoder_beam_size(self, beam_size: int) -> None:
        """Tell decoders that so many rows at a time belong to one sentence."""
        if beam_size > 1:
            for model in self.models:
                if hasattr(model, "set_beam_size"):
                    model.set_beam_size(beam_size)

    @torch.no_grad()
    def forward_encoder(self, net_input: dict[str, Tensor]) -> Optional[list[Any]]:
        """What each encoder gives for the sources; None without encoders. A batch begins with it."""
        self._keepers = {}
        if not self.has_encoder():
            return None
        return [model.encoder.forward_torchscript(net_input) for model in self.models]

    @torch.no_grad()
    def forward_decoder(
        self,
        tokens: Tensor,
        encoder_outs: Optional[list[Any]],
        incremental_states: list[IncrementalState],
        temperature: float = 1.0,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Log-probabilities (N, V) of the word after `tokens` (N, T), and the newest attention (N, S) or None."""
        lprobs, attentions = [], []
        for number, model in enumerate(self.models):
            encoder_out = encoder_outs[number] if encoder_outs is not None and self.has_encoder() else None
            state = incremental_states[number] if self.has_incremental else None
            scores, extra = _decode(model, tokens, encoder_out, state)
            newest = scores[:, -1:, :]
            if temperature != 1.0:
                newest = newest / temperature
            lprobs.append(model.get_normalized_probs((newest, extra), log_probs=True, sample=None)[:, -1, :])
            attention = attention_of(extra)
            attentions.append(None if attention is None else attention[:, -1, :])
        if len(lprobs) == 1:
            return lprobs[0], attentions[0]
        average = torch.logsumexp(torch.stack(lprobs), dim=0) - math.log(self.models_size)
        known = [attention for attention in attentions if attention is not None]
        return average, sum(known[1:], known[0]) / self.models_size if known else None

    def encoder_outs_for_beams(self, encoder_outs: Optional[list[Any]], sentences: int, beam_size: int) -> list[Any]:
        """What decoders with `beam_size` rows for each sentence want: outputs as they are, where rows may share them,
        or else a row for each."""
        if encoder_outs is None:
            return []
        device = next(self.parameters(), torch.empty(0)).device
        order = torch.arange(sentences, device=device).repeat_interleave(beam_size)
        if self._reorders_itself():
            return self.reorder_encoder_out(encoder_outs, order)
        return [
            encoder_out if _shares_source(model) else model.encoder.reorder_encoder_out(encoder_out, order)
            for model, encoder_out in zip(self.models, encoder_outs, strict=True)
        ]

    def go_on(self, encoder_outs: list[Any], sentences: Optional[Tensor], new_order: Tensor) -> list[Any]:
        """Outputs of these of the sentences (all if None), for rows `new_order` (N,) of those so far."""
        if self._reorders_itself():
            return self.reorder_encoder_out(encoder_outs, new_order)
        return [
            model.encoder.reorder_encoder_out(encoder_out, new_order)
            if not _shares_source(model)
            else encoder_out
            if sentences is None
            else model.encoder.reorder_encoder_out(encoder_out, sentences)
            for model, encoder_out in zip(self.models, encoder_outs, strict=False)
        ]

    def empty_states(self) -> list[IncrementalState]:
        """A state for each model to keep what it computes in."""
        ours = type(self).reorder_incremental_state is EnsembleModel.reorder_incremental_state
        return [
            OwnStates() if ours and _shares_source(model) and _reorders_as_usual(model.decoder) else {}
            for model in self.models
        ]

    def _reorders_itself(self) -> bool:
        """Whether a subclass has an arrangement of its own."""
        return type(self).reorder_encoder_out is not EnsembleModel.reorder_encoder_out

    def reorder_encoder_out(self, encoder_outs: Optional[list[Any]], new_order: Tensor) -> list[Any]:
        """The encoders' outputs with sentences in the order of `new_order`."""
        if not self.has_encoder() or encoder_outs is None:
            return []
        return [
            model.encoder.reorder_encoder_out(encoder_out, new_order)
            for model, encoder_out in zip(self.models, encoder_outs, strict=True)
        ]

    def reorder_incremental_state(self, incremental_states: list[IncrementalState], new_order: Tensor) -> None:
        """Let every decoder arrange what it keeps in the order of `new_order` (N,)."""
        if not self.has_incremental:
            return
        for model, state in zip(self.models, incremental_states, strict=True):
            decoder = model.decoder
            if not _reorders_as_usual(decoder):
                decoder.reorder_incremental_state_scripting(state, new_order)
                continue
            if decoder not in self._keepers:
                self._keepers[decoder] = with_kept_state(decoder)
            reorder_each(self._keepers[decoder], state, new_order)


def _is_incremental(model: Any) -> bool:
    return hasattr(model, "decoder") and hasattr(model.decoder, "reorder_incremental_state_scripting")


def _shares_source(model: Any) -> bool:
    """Whether rows of the decoder may share the encoder's output of their sentence."""
    shares = getattr(getattr(model, "decoder", None), "shares_source", None)
    return shares is not None and bool(shares())


def _reorders_as_usual(decoder: Any) -> bool:
    name = "reorder_incremental_state_scripting"
    return getattr(type(decoder), name) is getattr(FairseqIncrementalDecoder, name) and name not in vars(decoder)


def _decode(model: Any, tokens: Tensor, encoder_out: Any, state: Optional[IncrementalState]) -> tuple[Tensor, Any]:
    if state is not None:
        return model.decoder(tokens, encoder_out=encoder_out, incremental_state=state)  # type: ignore[no-any-return]
    if hasattr(model, "decoder"):
        return model.decoder(tokens, encoder_out=encoder_out)  # type: ignore[no-any-return]
    return model(tokens)  # type: ignore[no-any-return]


def attention_of(extra: Any) -> Optional[Tensor]:
    """Attention (N, T, S) in what a decoder returned beside scores: itself, or `attn`, or the first of a list of it."""
    if isinstance(extra, dict):
        extra = extra.get("attn")
    if isinstance(extra, (list, tuple)):
        extra = extra[0] if extra else None
    return extra
