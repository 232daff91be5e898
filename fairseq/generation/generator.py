"""Generation: search over what models give, until every sentence has its hypotheses.

B: sentences searched, K: hypotheses of each (beam), N = B * K: rows that the decoder sees, V: words, S: source length.
Hypotheses of a sentence are K rows in succession. A hypothesis is a dict of

    tokens             (T,)    words, with the end-of-sentence symbol last
    score              ()      sum of log-probabilities, over T ** len_penalty where normalized
    attention          (S, T)  to the source; empty if the model gives none
    alignment          (0,)    filled in by SequenceGeneratorWithAlignment
    positional_scores  (T,)    log-probability of each word
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, GenerationError
from fairseq.generation.batch import sentence_numbers, sources_of
from fairseq.generation.beams import Beams
from fairseq.generation.ensemble import EnsembleModel
from fairseq.generation.restrictions import follow_prefix, replicate_first_beam, restrict, without_nan
from fairseq.generation.search import BeamSearch
from fairseq.native.packed_linear import PackedWeights
from fairseq.ngram_repeat_block import NGramRepeatBlock

Hypothesis = dict[str, Tensor]


class UnsupportedConstraints(ConfigError, NotImplementedError):
    """Constraints for a search strategy that takes none."""


class SequenceGenerator(nn.Module):
    """Generates from an ensemble of models.

    Attributes:
        kept_bytes: memory of keys and values, and of what else decoders keep, at the end of the last batch.

    Args:
        models: models, or an EnsembleModel.
        tgt_dict: the target's dictionary.
        beam_size: K; at most all words but one.
        max_len_a, max_len_b: at most max_len_a * S + max_len_b words, besides the end.
        max_len: at most max_len tokens with the end, in place of what the models allow.
        min_len: at least so many words besides the end.
        normalize_scores: divide scores by T ** len_penalty.
        len_penalty: above 1 favours longer hypotheses.
        unk_penalty: what the unknown word loses.
        temperature: divides the models' scores before the softmax.
        match_source_len: as many words as the source.
        no_repeat_ngram_size: no n-gram of this size twice in a hypothesis.
        search_strategy: a Search; beam search if None.
        eos: the end-of-sentence symbol; the dictionary's if None.
        symbols_to_strip_from_output: for those who print hypotheses; the end is always one.
        lm_model: a language model whose log-probabilities are added, times `lm_weight`.
        tokens_to_suppress: words that are never generated.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    def __init__(
        self,
        models: Any,
        tgt_dict: Any,
        beam_size: int = 1,
        max_len_a: float = 0,
        max_len_b: int = 200,
        max_len: int = 0,
        min_len: int = 1,
        normalize_scores: bool = True,
        len_penalty: float = 1.0,
        unk_penalty: float = 0.0,
        temperature: float = 1.0,
        match_source_len: bool = False,
        no_repeat_ngram_size: int = 0,
        search_strategy: Optional[Any] = None,
        eos: Optional[int] = None,
        symbols_to_strip_from_output: Optional[Iterable[int]] = None,
        lm_model: Optional[Any] = None,
        lm_weight: float = 1.0,
        tokens_to_suppress: Sequence[str] = (),
    ):
        super().__init__()
        self.model = models if isinstance(models, EnsembleModel) else EnsembleModel(models)
        self.tgt_dict = tgt_dict
        self.pad = tgt_dict.pad()
        self.unk = tgt_dict.unk()
        self.eos = tgt_dict.eos() if eos is None else eos
        self.symbols_to_strip_from_output = {*(symbols_to_strip_from_output or ()), self.eos}
        self.token_indices_to_suppress = _indices(tgt_dict, tokens_to_suppress)
        self.vocab_size = len(tgt_dict)
        if beam_size < 1:
            raise ConfigError(f"a beam has at least one hypothesis, not {beam_size} (--beam)")
        if temperature <= 0:
            raise ConfigError(f"--temperature must be greater than 0, not {temperature}")
        self.beam_size = min(beam_size, self.vocab_size - 1)  # padding is no word
        self.model.set_decoder_beam_size(self.beam_size)
        self.max_len_a = max_len_a
        self.max_len_b = max_len_b
        self.min_len = min_len
        self.max_len = max_len or self.model.max_decoder_positions()
        self.normalize_scores = normalize_scores
        self.len_penalty = len_penalty
        self.unk_penalty = unk_penalty
        self.temperature = temperature
        self.match_source_len = match_source_len
        self.repeat_ngram_blocker = NGramRepeatBlock(no_repeat_ngram_size) if no_repeat_ngram_size > 0 else None
        self.search = BeamSearch(tgt_dict) if search_strategy is None else search_strategy
        self.should_set_src_lengths = bool(getattr(self.search, "needs_src_lengths", False))
        self.model.eval()
        self._packed_weights = PackedWeights()
        self.kept_bytes = 0
        self.lm_model = lm_model
        self.lm_weight = lm_weight
        if lm_model is not None:
            lm_model.eval()

    def cuda(self) -> "SequenceGenerator":  # type: ignore[override]
        self.model.cuda()
        return self

    @torch.no_grad()
    def forward(
        self, sample: dict[str, Any], prefix_tokens: Optional[Tensor] = None, bos_token: Optional[int] = None
    ) -> list[list[Hypothesis]]:
        """Generate for one batch; see `generate`."""
        with self._packed_weights.in_use():
            return self._generate(sample, prefix_tokens, bos_token=bos_token)

    def generate_batched_itr(
        self, data_itr: Iterable[dict[str, Any]], beam_size: Optional[int] = None, cuda: bool = False, timer: Any = None
    ) -> Iterator[tuple[Any, Optional[Tensor], Optional[Tensor], list[Hypothesis]]]:
        """For every sentence of the batches: its number, source, target (None without one) and hypotheses.

        Args:
            beam_size: accepted for the sake of the interface; the generator's counts.
            cuda: move batches to the GPU.
            timer: started before each batch and stopped with its number of tokens.
        """
        from fairseq import utils

        for sample in data_itr:
            batch = utils.move_to_cuda(sample) if cuda else sample
            if "net_input" not in batch:
                continue
            if timer is not None:
                timer.start()
            found = self.generate(None, batch)
            if timer is not None:
                timer.stop(sum(len(hypotheses[0]["tokens"]) for hypotheses in found if hypotheses))
            source = batch["net_input"].get("src_tokens")
            target = batch.get("target")
            for row, hypotheses in enumerate(found):
                number = batch["id"][row] if "id" in batch else row
                yield (
                    number.item() if torch.is_tensor(number) else number,
                    None if source is None else utils.strip_pad(source[row], self.pad),
                    None if target is None else utils.strip_pad(target[row], self.pad),
                    hypotheses,
                )

    @torch.no_grad()
    def generate(self, models: Any, sample: dict[str, Any], **kwargs: Any) -> list[list[Hypothesis]]:
        """Hypotheses of each sentence of a batch, best first.

        Args:
            models: accepted for the sake of the interface; the generator has its own.
            sample: a batch with `net_input`.
            prefix_tokens: (B, P), words that hypotheses begin with, padded at the right.
            constraints: (B, N), see `pack_constraints`; for LexicallyConstrainedBeamSearch.
            bos_token: what the decoder sees first, in place of the end-of-sentence symbol.

        Raises:
            GenerationError: the models' scores are NaN, or no hypothesis can end within the greatest length.
        """
        with self._packed_weights.in_use():
            return self._generate(sample, **kwargs)

    # --- the search -----------------------------------------------------------------------------------------------

    def _generate(
        self,
        sample: dict[str, Any],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
        bos_token: Optional[int] = None,
    ) -> list[list[Hypothesis]]:
        net_input = sample["net_input"]
        sources, src_lengths = sources_of(net_input, self.eos, self.pad)
        sentences, src_len = sources.shape[:2]
        beam_size, search = self.beam_size, self.search
        if constraints is not None and not search.supports_constraints:
            raise UnsupportedConstraints(
                "Target-side constraints were provided, but search method doesn't support them"
                f" ({type(search).__name__})"
            )
        search.init_constraints(constraints, beam_size)
        finalized: list[list[Hypothesis]] = [[] for _ in range(sentences)]
        if sentences == 0:
            return finalized
        max_len = self._max_len(src_len, src_lengths)
        first = self.eos if bos_token is None else bos_token
        beams = Beams(sentences, beam_size, max_len, first, self.pad, sources.device)

        encoder_outs = self.model.encoder_outs_for_beams(self.model.forward_encoder(net_input), sentences, beam_size)
        incremental_states = self.model.empty_states()
        original_batch_idxs = sentence_numbers(sample, sources)
        finished = [False] * sentences

        for step in range(max_len + 1):
            lprobs, attention = self.model.forward_decoder(
                beams.tokens[:, : step + 1], encoder_outs, incremental_states, self.temperature
            )
            lprobs = self._with_language_model(lprobs, beams.tokens[:, : step + 1])
            lprobs, broken = without_nan(lprobs, beam_size)
            lprobs = restrict(self, step, lprobs, beams, prefix_tokens)
            beams.note_attention(step, attention)
            beams.scores = beams.scores.type_as(lprobs)
            if self.should_set_src_lengths:
                search.set_src_lengths(src_lengths)

            totals, words, origins = search.step(
                step,
                lprobs.unflatten(0, (-1, beam_size)),
                beams.scores.unflatten(0, (-1, beam_size))[:, :, :step],
                beams.tokens[:, : step + 1],
                original_batch_idxs,
            )  # (B, C) each
            ends = words.eq(self.eos) & totals.ne(-math.inf)
            ends[:, :beam_size] &= ~beams.ignore
            best = ends[:, :beam_size]  # only the best K end; what is worse waits
            events = torch.cat([best, totals[:, :1].eq(-math.inf)], dim=1).nonzero()  # the host waits here only
            finished_now: list[int] = []
            if events.numel():
                if broken is not None and broken.any():
                    raise GenerationError(
                        f"the models' scores for word {step + 1} are NaN: the checkpoint is damaged, or its numbers"
                        " overflow (in fp16, if that was asked for)"
                    )
                rows = beams.rows(origins[:, :beam_size])
                finished_now = self.finalize_hypos(
                    step, rows[best], totals[:, :beam_size][best], beams.tokens, beams.scores, finalized, finished,
                    beam_size, beams.attn, src_lengths, max_len,
                )  # fmt: skip
            if all(finished) or (search.stop_on_max_len and step >= max_len):
                break
            if step >= max_len:
                raise GenerationError(
                    f"no hypothesis of a sentence can end within {max_len} words: allow more (--max-len-a,"
                    " --max-len-b), or give fewer constraints"
                )

            goes_on: Optional[Tensor] = None
            if finished_now:
                left = sorted(set(range(words.size(0))).difference(finished_now))
                goes_on = torch.tensor(left, device=words.device)
                search.prune_sentences(goes_on)
                totals, words, origins, ends = totals[goes_on], words[goes_on], origins[goes_on], ends[goes_on]
                src_lengths, original_batch_idxs = src_lengths[goes_on], original_batch_idxs[goes_on]
                prefix_tokens = None if prefix_tokens is None else prefix_tokens[goes_on]
                old_rows = goes_on.unsqueeze(1) * beam_size + origins
                beams.keep(goes_on)
            else:
                old_rows = beams.rows(origins)

            # the best K of the candidates that neither ended nor were given up
            ends[:, :beam_size] |= beams.ignore
            rank = ends * words.size(1) + torch.arange(words.size(1), device=words.device)
            rank, active = rank.topk(beam_size, dim=1, largest=False)
            beams.ignore = rank.ge(words.size(1))
            order = beams.rows(origins.gather(1, active)).view(-1)
            beams.advance(step, order, words.gather(1, active).view(-1), totals.gather(1, active).view(-1))
            search.update_constraints(active)
            old_order = old_rows.gather(1, active).view(-1)
            if goes_on is not None or not _is_identity(old_order):
                self.model.reorder_incremental_state(incremental_states, old_order)
                encoder_outs = self.model.go_on(encoder_outs, goes_on, old_order)

        self.kept_bytes = _kept_bytes(incremental_states)
        for hypotheses in finalized:
            hypotheses.sort(key=lambda hypothesis: -hypothesis["score"].item())
        return finalized

    def _max_len(self, src_len: int, src_lengths: Tensor) -> int:
        if self.match_source_len:
            max_len = int(src_lengths.max())
        else:
            max_len = min(int(self.max_len_a * src_len + self.max_len_b), int(self.max_len) - 1)
        if self.min_len > max_len:
            raise ConfigError(
                f"min_len cannot be larger than max_len, please adjust these: {self.min_len} and {max_len} (--min-len,"
                " --max-len-a, --max-len-b)"
            )
        return max_len

    def _with_language_model(self, lprobs: Tensor, tokens: Tensor) -> Tensor:
        if self.lm_model is None:
            return lprobs
        out = self.lm_model(tokens)
        return lprobs + self.lm_model.get_normalized_probs(out, log_probs=True, sample=None)[:, -1, :] * self.lm_weight

    def _prefix_tokens(
        self, step: int, lprobs: Tensor, scores: Tensor, tokens: Tensor, prefix_tokens: Tensor, beam_size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Overridden by those who treat prefixes otherwise; see `follow_prefix`."""
        return follow_prefix(step, lprobs, scores, tokens, prefix_tokens, beam_size, self.pad, self.eos)

    def replicate_first_beam(self, tensor: Tensor, mask: Tensor, beam_size: int) -> Tensor:
        """`tensor` (N, ...) with the rows of sentences in `mask` (B,) replaced by the first of them."""
        return replicate_first_beam(tensor, mask, beam_size)

    def finalize_hypos(
        self,
        step: int,
        bbsz_idx: Tensor,
        eos_scores: Tensor,
        tokens: Tensor,
        scores: Tensor,
        finalized: list[list[Hypothesis]],
        finished: list[bool],
        beam_size: int,
        attn: Optional[Tensor],
        src_lengths: Tensor,
        max_len: int,
    ) -> list[int]:
        """Add hypotheses that end at `step` to `finalized`, K at most for a sentence.

        Args:
            bbsz_idx: (E,), rows that end.
            eos_scores: (E,), their sums of log-probabilities with the end.
            finished: for each sentence of the batch, whether it was finished before.
            src_lengths: (B,), of those that were not.

        Returns:
            Places, among sentences that were not finished before, of those that are now.
        """
        words = tokens[bbsz_idx, 1 : step + 2]
        words[:, step] = self.eos
        sums = scores[bbsz_idx, : step + 1]
        sums[:, step] = eos_scores
        positional = torch.cat([sums[:, :1], sums.diff(dim=1)], dim=1)
        attention = None if attn is None else attn[bbsz_idx, :, 1 : step + 2]
        if self.normalize_scores:
            eos_scores = eos_scores / (step + 1) ** self.len_penalty

        searched = [sentence for sentence, done in enumerate(finished) if not done]
        places = [row // beam_size for row in bbsz_idx.tolist()]
        for number, place in enumerate(places):
            hypotheses = finalized[searched[place]]
            if len(hypotheses) >= beam_size:
                continue
            too_long = self.match_source_len and step > src_lengths[place]
            hypotheses.append(
                {
                    "tokens": words[number],
                    "score": torch.full_like(eos_scores[number], -math.inf) if too_long else eos_scores[number],
                    "attention": torch.empty(0) if attention is None else attention[number],
                    "alignment": torch.empty(0),
                    "positional_scores": positional[number],
                }
            )
        finished_now = []
        for place in sorted(set(places)):
            sentence = searched[place]
            if self.is_finished(step, place, max_len, len(finalized[sentence]), beam_size):
                finished[sentence] = True
                finished_now.append(place)
        return finished_now

    def is_finished(self, step: int, unfin_idx: int, max_len: int, finalized_sent_len: int, beam_size: int) -> bool:
        """Whether a sentence with `finalized_sent_len` hypotheses is done."""
        return finalized_sent_len == beam_size or step == max_len


def _kept_bytes(states: list[Any]) -> int:
    entries = [entry for state in states for entry in state.values()]
    parts = [part for entry in entries for part in (entry.values() if isinstance(entry, dict) else [entry])]
    return sum(getattr(part, "nbytes", 0) for part in parts)


def _is_identity(order: Tensor) -> bool:
    """Whether `order` is known to change nothing; on a GPU the host would have to wait for the answer."""
    return order.device.type == "cpu" and torch.equal(order, torch.arange(order.numel()))


def _indices(dictionary: Any, words: Sequence[str]) -> Optional[list[int]]:
    """The numbers of `words`; None for none."""
    for word in words:
        if dictionary.index(word) == dictionary.unk():
            raise ConfigError(f"the word {word!r} is to be suppressed but is not in the dictionary")
    return [dictionary.index(word) for word in words] or None
