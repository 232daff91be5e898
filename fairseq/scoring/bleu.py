"""BLEU of token ids (`scoring=bleu`) and of text through sacrebleu (`scoring=sacrebleu`).

With p_n the share of n-grams of the output that are in the reference too (each at most as often), over all sentences:

    BLEU = 100 * min(1, exp(1 - reference length / output length)) * (p_1 * ... * p_order) ** (1 / order)

Papineni et al. 2002, one reference, no smoothing.

>>> import torch
>>> scorer = Scorer(BleuConfig(pad=1, eos=2, unk=3))
>>> scorer.add(torch.tensor([5, 6, 7, 8, 9, 2]), torch.tensor([5, 6, 7, 8, 8, 2]))
>>> scorer.result_string()
'BLEU4 = 66.87, 80.0/75.0/66.7/50.0 (BP=1.000, ratio=1.000, syslen=5, reflen=5)'
"""

import math
from collections import Counter
from typing import Any

from torch import Tensor

from fairseq.dataclass.scoring import BleuConfig, SacrebleuConfig
from fairseq.errors import ConfigError
from fairseq.scoring import BaseScorer, register_scorer

MAX_ORDER = 4
WORD_BOUNDARY = "\u2581"
NO_MATCH = -999  # what unknown symbols of a reference become


@register_scorer("bleu", dataclass=BleuConfig)
class Scorer:
    """BLEU of token ids, up to 4-grams."""

    def __init__(self, cfg: Any):
        self.pad, self.eos, self.unk = cfg.pad, cfg.eos, cfg.unk
        self.reset()

    def reset(self, one_init: bool = False) -> None:
        """Start again; `one_init` begins with one match of each length above 1 (smoothing for single sentences)."""
        self.reflen = self.predlen = 0
        start = [0] + [int(one_init)] * (MAX_ORDER - 1)
        self.matches, self.counts = list(start), list(start)

    def add(self, ref: Tensor, pred: Tensor) -> None:
        """One sentence: ids of reference and output; padding at both ends and eos at the end are left out."""
        reference = [NO_MATCH if token == self.unk else token for token in self._trim(ref)]
        output = self._trim(pred)
        self.reflen += len(reference)
        self.predlen += len(output)
        for n in range(1, MAX_ORDER + 1):
            in_output = Counter(_ngrams(output, n))
            in_reference = Counter(_ngrams(reference, n))
            self.counts[n - 1] += sum(in_output.values())
            self.matches[n - 1] += sum((in_output & in_reference).values())

    def _trim(self, ids: Tensor) -> list[int]:
        tokens = ids.tolist()
        while tokens and tokens[0] == self.pad:
            tokens.pop(0)
        while tokens and tokens[-1] in (self.pad, self.eos):
            tokens.pop()
        return tokens

    def precision(self) -> list[float]:
        """p_1 ... p_4."""
        return [match / count if count else 0.0 for match, count in zip(self.matches, self.counts, strict=True)]

    def brevity(self) -> float:
        """The penalty for an output that is too short."""
        return min(1.0, math.exp(1 - self.reflen / self.predlen)) if self.predlen else 0.0

    def score(self, order: int = MAX_ORDER) -> float:
        """BLEU in percent."""
        precision = self.precision()[:order]
        if min(precision) == 0:
            return 0.0
        return self.brevity() * math.exp(sum(map(math.log, precision)) / order) * 100

    def result_string(self, order: int = MAX_ORDER) -> str:
        """`BLEU4 = 27.3, 58.4/33.2/21.0/13.7 (BP=..., ratio=..., syslen=..., reflen=...)`."""
        precision = "/".join(f"{100 * p:.1f}" for p in self.precision()[:order])
        ratio = self.predlen / self.reflen if self.reflen else 0.0
        lengths = f"BP={self.brevity():.3f}, ratio={ratio:.3f}, syslen={self.predlen:d}, reflen={self.reflen:d}"
        return f"BLEU{order} = {self.score(order):.2f}, {precision} ({lengths})"


def _ngrams(tokens: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


@register_scorer("sacrebleu", dataclass=SacrebleuConfig)
class SacrebleuScorer(BaseScorer):
    """BLEU of text, tokenised and scored by the sacrebleu library."""

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        import sacrebleu

        if cfg.sacrebleu_tokenizer not in sacrebleu.BLEU.TOKENIZERS:
            choices = ", ".join(sacrebleu.BLEU.TOKENIZERS)
            raise ConfigError(f"scoring.sacrebleu_tokenizer={cfg.sacrebleu_tokenizer}: choose from {choices}")
        self._words = sacrebleu.BLEU(tokenize=cfg.sacrebleu_tokenizer, lowercase=cfg.sacrebleu_lowercase)
        self._characters = sacrebleu.BLEU(tokenize="none", force=True)

    def _score(self) -> Any:
        if not self.cfg.sacrebleu_char_level:
            return self._words.corpus_score(self.pred, [self.ref])
        return self._characters.corpus_score(list(map(self._spell, self.pred)), [list(map(self._spell, self.ref))])

    def _spell(self, text: str) -> str:
        """The characters of the tokenised text as words, boundaries of its words included."""
        text = text.lower() if self.cfg.sacrebleu_lowercase else text
        return " ".join(self._words.tokenizer(text).replace(" ", WORD_BOUNDARY))

    def score(self, order: int = MAX_ORDER) -> float:
        """BLEU in percent."""
        return self._score().score

    def result_string(self, order: int = MAX_ORDER) -> str:
        """The library's line: `BLEU = 27.3 ...`."""
        if order != MAX_ORDER:
            raise NotImplementedError(f"sacrebleu scores up to 4-grams, not {order}")
        return self._score().format()
