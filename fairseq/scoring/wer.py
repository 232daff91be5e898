"""`scoring=wer`: word error rate, the edits that turn outputs into references over the words of the references.

    WER = 100 * (substitutions + insertions + deletions) / reference words

>>> edit_distance("the cat sat".split(), "a cat sat down".split())
2
"""

from collections.abc import Sequence
from typing import Any

from fairseq.dataclass.scoring import WerConfig
from fairseq.scoring import BaseScorer, register_scorer
from fairseq.scoring.tokenizer import EvaluationTokenizer

WerScorerConfig = WerConfig  # fairseq's name


def edit_distance(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The least number of insertions, deletions and substitutions between two sequences (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for i, item in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (item != other))
    return row[-1]


@register_scorer("wer", dataclass=WerConfig)
class WerScorer(BaseScorer):
    """Word error rate in percent; below is better."""

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        self.tokenizer = EvaluationTokenizer(
            tokenizer_type=cfg.wer_tokenizer,
            lowercase=cfg.wer_lowercase,
            punctuation_removal=cfg.wer_remove_punct,
            character_tokenization=cfg.wer_char_level,
        )
        self.reset()

    def reset(self) -> None:
        self.distance = self.ref_length = 0

    def add_string(self, ref: str, pred: str) -> None:
        reference, output = (self.tokenizer.tokenize(text).split() for text in (ref, pred))
        self.distance += edit_distance(reference, output)
        self.ref_length += len(reference)

    def score(self) -> float:
        return 100.0 * self.distance / self.ref_length if self.ref_length > 0 else 0.0

    def result_string(self) -> str:
        return f"WER: {self.score():.2f}"
