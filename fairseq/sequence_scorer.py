"""Scores of given targets, in the form of hypotheses.

score = mean_t log (1/M) sum_m p_m(y_t | y_<t, x)
"""

import math
import sys
from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq import utils
from fairseq.generation.alignment import extract_hard_alignment
from fairseq.generation.ensemble import attention_of


class SequenceScorer:
    """Scores `sample["target"]` with an ensemble of models.

    Args:
        tgt_dict: the target's dictionary.
        softmax_batch: at most so many tokens at a time go through the softmax.
        compute_alignment: fill in hard alignments.
        eos: the end-of-sentence symbol; the dictionary's if None.
        symbols_to_strip_from_output: for those who print hypotheses; the end is always one.
    """

    def __init__(
        self,
        tgt_dict: Any,
        softmax_batch: Optional[int] = None,
        compute_alignment: bool = False,
        eos: Optional[int] = None,
        symbols_to_strip_from_output: Optional[Iterable[int]] = None,
    ):
        self.pad = tgt_dict.pad()
        self.eos = tgt_dict.eos() if eos is None else eos
        self.softmax_batch = softmax_batch or sys.maxsize
        assert self.softmax_batch > 0
        self.compute_alignment = compute_alignment
        self.symbols_to_strip_from_output = {*(symbols_to_strip_from_output or ()), self.eos}

    @torch.no_grad()
    def generate(self, models: list[Any], sample: dict[str, Any], **kwargs: Any) -> list[list[dict[str, Any]]]:
        """One hypothesis for each sentence of the batch, its target.

        Args:
            models: their probabilities are averaged.
            sample: a batch with `net_input` and `target`; with `start_indices` (B,), earlier words are not scored.
        """
        target = sample["target"]
        scores, attentions = [], []
        for model in models:
            model.eval()
            output = model(**sample["net_input"])
            scores.append(self._target_scores(model, output, sample))
            attention = attention_of(output[1] if len(output) > 1 else None)
            if attention is not None:
                attentions.append(attention)
        lprobs = scores[0] if len(scores) == 1 else torch.logsumexp(torch.stack(scores), dim=0) - math.log(len(scores))
        attn = sum(attentions[1:], attentions[0]) / len(models) if attentions else None

        starts = [int(start) for start in sample.get("start_indices", [0] * target.size(0))]
        result = []
        for row, start in enumerate(starts):
            words = utils.strip_pad(target[row, start:], self.pad)
            positional = lprobs[row, start : start + words.numel()]
            attention, alignment = None, None
            if attn is not None:
                attention = attn[row]
                if self.compute_alignment:
                    source = sample["net_input"]["src_tokens"][row]
                    alignment = extract_hard_alignment(attention, source, target[row], self.pad, self.eos)
            result.append(
                [
                    {
                        "tokens": words,
                        "score": positional.sum() / words.numel(),
                        "attention": attention,
                        "alignment": alignment,
                        "positional_scores": positional,
                    }
                ]
            )
        return result

    def _target_scores(self, model: Any, output: tuple, sample: dict[str, Any]) -> Tensor:
        """Log-probabilities (B, T) of the target."""
        target = sample["target"]
        if target.numel() <= self.softmax_batch:
            lprobs = model.get_normalized_probs(output, log_probs=True, sample=sample)
            return lprobs.gather(2, target.unsqueeze(2)).squeeze(2)  # type: ignore[no-any-return]
        flat = output[0].reshape(1, -1, output[0].size(-1))
        pieces = []
        for start in range(0, target.numel(), self.softmax_batch):
            words = target.reshape(1, -1)[:, start : start + self.softmax_batch]
            piece = (flat[:, start : start + self.softmax_batch], *output[1:])
            lprobs = model.get_normalized_probs(piece, log_probs=True, sample={**sample, "target": words})
            pieces.append(lprobs.gather(2, words.unsqueeze(2)))
        return torch.cat(pieces, dim=1).view_as(target)
