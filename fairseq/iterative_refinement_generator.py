"""Generation by models that write whole sentences and refine them until they stay as they are.

    generator = IterativeRefinementGenerator(task.target_dictionary, max_iter=9)
    hypotheses = generator.generate([model], sample)         # one per sentence

A model gives `forward_encoder`, `initialize_output_tokens` and `forward_decoder` (`fairseq.models.nat`). Several models
predict as their mean, where they can.
"""

from collections import namedtuple
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.errors import ConfigError

# output_tokens (B, T), output_scores (B, T), attn (B, T, S) or None, number of the step and of all, history of tokens
DecoderOut = namedtuple("DecoderOut", ["output_tokens", "output_scores", "attn", "step", "max_step", "history"])


class IterativeRefinementGenerator:
    """Refine until nothing changes, `max_iter` times at most.

    Args:
        tgt_dict: of the targets.
        models: not used; `generate` gets them.
        eos_penalty: taken off the score of inserting nothing.
        max_iter: refinements behind the first output.
        max_ratio: the longest output, as a multiple of its source.
        beam_size: lengths that are tried of each sentence; the hypothesis with the best score is returned.
        decoding_format: handed to the models.
        retain_dropout: leave dropout as it is.
        adaptive: stop where a sentence stays as it is.
        retain_history: hypotheses have the outputs of all steps.
        reranking: the last of the models is autoregressive, and its scores choose the hypothesis.
    """

    def __init__(
        self,
        tgt_dict: Any,
        models: Any = None,
        eos_penalty: float = 0.0,
        max_iter: int = 10,
        max_ratio: float = 2,
        beam_size: int = 1,
        decoding_format: Optional[str] = None,
        retain_dropout: bool = False,
        adaptive: bool = True,
        retain_history: bool = False,
        reranking: bool = False,
    ):
        self.bos, self.pad = tgt_dict.bos(), tgt_dict.pad()
        self.unk, self.eos = tgt_dict.unk(), tgt_dict.eos()
        self.vocab_size = len(tgt_dict)
        self.eos_penalty, self.max_ratio, self.decoding_format = eos_penalty, max_ratio, decoding_format
        self.max_iter, self.adaptive, self.beam_size = max_iter, adaptive, beam_size
        self.retain_dropout, self.retain_history, self.reranking = retain_dropout, retain_history, reranking
        self.models = models

    def generate_batched_itr(
        self,
        data_itr: Any,
        maxlen_a: Optional[float] = None,
        maxlen_b: Optional[int] = None,
        cuda: bool = False,
        timer: Any = None,
        prefix_size: int = 0,
    ) -> Any:
        """For each sentence of an iterator of batches: its number, source, target and hypotheses."""
        for sample in data_itr:
            if "net_input" not in sample:
                continue
            if timer is not None:
                timer.start()
            with torch.no_grad():
                hypotheses = self.generate(self.models, sample)
            if timer is not None:
                timer.stop(sample["ntokens"])
            for row, number in enumerate(sample["id"]):
                source = sample["net_input"]["src_tokens"][row]
                target = sample["target"][row] if sample["target"] is not None else None
                yield (
                    number,
                    source[source.ne(self.pad)],
                    None if target is None else target[target.ne(self.pad)],
                    hypotheses[row],
                )

    @torch.no_grad()
    def generate(
        self, models: list[Any], sample: dict[str, Any], prefix_tokens: Any = None, constraints: Any = None
    ) -> list[list[dict[str, Any]]]:
        """The hypotheses of a batch, a list of one for each sentence.

        Returns:
            Dicts with `tokens` (begin and end of sentences are as the model writes them), `positional_scores`, their
            mean `score`, `hypo_attn`, `alignment`, `steps`, and with `retain_history` `history`.

        Raises:
            ConfigError: a prefix, constraints, or models that cannot do what is asked.
        """
        if constraints is not None or prefix_tokens is not None:
            raise ConfigError(
                "models that refine whole sentences have no search to constrain: leave prefix and constraints out"
            )
        models, reranker = self._split(list(models))
        model = models[0]
        if not self.retain_dropout:
            for each in (*models, *([reranker] if reranker is not None else [])):
                each.eval()
        if len(models) > 1 or self.beam_size > 1:
            self._check(models)
        if len(models) > 1:
            model.enable_ensemble(models)
        try:
            return self._best(model, reranker, sample)
        finally:
            if len(models) > 1:
                model.enable_ensemble([])

    def _best(self, model: Any, reranker: Any, sample: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """The best hypothesis of each sentence."""
        source = [sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]]
        num_sentences = source[0].size(0)
        encoder_out = model.forward_encoder(source)
        state = model.initialize_output_tokens(encoder_out, source[0])
        if self.beam_size > 1:
            rows = torch.arange(num_sentences, device=source[0].device).repeat_interleave(self.beam_size)
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, rows)
            state = model.regenerate_length_beam(state, self.beam_size)
        found = self._refine(model, state, encoder_out)
        if reranker is not None:
            found = self.rerank(reranker, found, source, self.beam_size)
        best = []
        for first in range(0, len(found), self.beam_size):
            tried = found[first : first + self.beam_size]
            best.append(max(tried, key=lambda each: float(each[0]["score"].nan_to_num(nan=float("-inf")))))  # no words
        return best

    def _split(self, models: list[Any]) -> tuple[list[Any], Any]:
        if not self.reranking:
            return models, None
        if len(models) < 2:
            raise ConfigError("--iter-decode-with-external-reranker: give the checkpoint that ranks last in --path")
        return models[:-1], models[-1]

    def _check(self, models: list[Any]) -> None:
        kind = type(models[0]).__name__
        if self.beam_size > 1 and not models[0].allow_length_beam:
            raise ConfigError(
                f"--iter-decode-with-beam {self.beam_size}: {kind} predicts no lengths of which to try several"
            )
        if len(models) > 1 and not models[0].allow_ensemble:
            raise ConfigError(f"{kind} cannot be one of several models; give one checkpoint")

    def _refine(self, model: Any, state: DecoderOut, encoder_out: Any) -> list[list[dict[str, Any]]]:
        """Hypotheses of all rows of `state`."""
        if self.retain_history:
            state = state._replace(history=[state.output_tokens.clone()])
        found: list[Any] = [None] * len(state.output_tokens)
        left = torch.arange(len(found), device=state.output_tokens.device)  # rows that are not finished
        for step in range(self.max_iter + 1):
            before = state.output_tokens
            state = model.forward_decoder(
                state._replace(step=step, max_step=self.max_iter + 1),
                encoder_out,
                eos_penalty=self.eos_penalty,
                max_ratio=self.max_ratio,
                decoding_format=self.decoding_format,
            )
            done = torch.full_like(left, step == self.max_iter, dtype=torch.bool)
            if self.adaptive:
                done |= self._same(before, state.output_tokens)
            for row in done.nonzero().flatten().tolist():
                found[int(left[row])] = [self._hypothesis(state, row, step)]
            if done.all():
                break
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, (~done).nonzero().flatten())
            state, left = _rows(state, ~done), left[~done]
        return found

    def _same(self, before: Tensor, after: Tensor) -> Tensor:
        """Which rows (B) are alike but for padding."""
        width = max(before.size(1), after.size(1))
        padded = [F.pad(tokens, (0, width - tokens.size(1)), value=self.pad) for tokens in (before, after)]
        return (padded[0] == padded[1]).all(1)

    def _hypothesis(self, state: DecoderOut, row: int, step: int) -> dict[str, Any]:
        kept = state.output_tokens[row].ne(self.pad)
        scores = state.output_scores[row][kept]
        attn = None if state.attn is None else state.attn[row][kept]
        hypothesis = {
            "steps": step,
            "tokens": state.output_tokens[row][kept],
            "positional_scores": scores,
            "score": scores.mean(),
            "hypo_attn": attn,
            "alignment": None if attn is None else attn.max(dim=1)[1],
        }
        if self.retain_history:
            hypothesis["history"] = [
                {"steps": number, "tokens": tokens[row][tokens[row].ne(self.pad)]}
                for number, tokens in enumerate(state.history)
            ]
        return hypothesis

    def rerank(
        self, reranker: Any, finalized: list[list[dict[str, Any]]], encoder_input: Any, beam_size: int
    ) -> list[list[dict[str, Any]]]:
        """Hypotheses with the mean log probabilities of an autoregressive model as their scores."""
        from fairseq.data import data_utils

        rows = [[t for t in each[0]["tokens"].tolist() if t not in (self.bos, self.eos)] for each in finalized]
        targets = [torch.tensor([*row, self.eos]) for row in rows]
        device = encoder_input[0].device
        target = data_utils.collate_tokens(targets, self.pad).to(device)
        previous = data_utils.collate_tokens(targets, self.pad, self.eos, move_eos_to_beginning=True).to(device)
        encoder_out = reranker.encoder(*encoder_input)
        if beam_size > 1:
            order = torch.arange(len(encoder_input[0]), device=device).repeat_interleave(beam_size)
            encoder_out = reranker.encoder.reorder_encoder_out(encoder_out, order)
        output = reranker.decoder(previous, encoder_out=encoder_out)
        lprobs = reranker.get_normalized_probs(output, log_probs=True).gather(2, target[:, :, None])[:, :, 0]
        words = target.ne(self.pad)
        scores = (lprobs * words).sum(1) / words.sum(1)
        for each, score in zip(finalized, scores, strict=True):
            each[0]["score"] = score
        return finalized


def _rows(state: DecoderOut, rows: Tensor) -> DecoderOut:
    """The rows of `state` where `rows` (B) is true."""
    return state._replace(
        output_tokens=state.output_tokens[rows],
        output_scores=state.output_scores[rows],
        attn=None if state.attn is None else state.attn[rows],
        history=None if state.history is None else [tokens[rows] for tokens in state.history],
    )
